package world

import (
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/record"
)

//go:embed presets/*.csv
var presets embed.FS

// Matrix is the round-trip time between regions.
type Matrix struct {
	Regions []string
	rtt     []time.Duration // row by row
}

// maxRegions bounds a matrix.
const maxRegions = 256

// Presets lists the matrices that come with the simulator.
func Presets() []string {
	entries, err := fs.ReadDir(presets, "presets")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".csv"))
	}
	return names
}

// Preset returns a matrix that comes with the simulator.
func Preset(name string) (*Matrix, error) {
	f, err := presets.Open("presets/" + name + ".csv")
	if err != nil {
		return nil, fmt.Errorf("%w: no matrix %q; there are %s, or a CSV file of your own", record.ErrInvalid, name, strings.Join(Presets(), ", "))
	}
	defer f.Close()
	return ReadMatrix(f)
}

// OpenMatrix opens a preset by name ("" for ibm-2024), or a CSV file, looked for in dir.
func OpenMatrix(name, dir string) (*Matrix, error) {
	if name == "" {
		name = "ibm-2024"
	}
	if !strings.HasSuffix(name, ".csv") {
		return Preset(name)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	defer f.Close()
	m, err := ReadMatrix(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// ReadMatrix reads a matrix from CSV: a head line "from,a,b,…", then a line a
// region with its name and its round-trip times to each, in milliseconds. Lines
// that begin with '#' say where the numbers are from.
func ReadMatrix(r io.Reader) (*Matrix, error) {
	c := csv.NewReader(r)
	c.Comment = '#'
	c.TrimLeadingSpace = true
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: matrix: %s", record.ErrInvalid, err)
	}
	m := &Matrix{Regions: head[1:]}
	if n := len(m.Regions); n == 0 || n > maxRegions {
		return nil, fmt.Errorf("%w: matrix of %d regions; 1 to %d are possible", record.ErrInvalid, n, maxRegions)
	}
	for _, name := range m.Regions {
		if err := record.ValidateRegion(name); err != nil {
			return nil, fmt.Errorf("matrix: %w", err)
		}
	}
	for i := 0; ; i++ {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			if i != len(m.Regions) {
				return nil, fmt.Errorf("%w: matrix of %d columns has %d rows", record.ErrInvalid, len(m.Regions), i)
			}
			return m, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: matrix: %s", record.ErrInvalid, err)
		}
		if i >= len(m.Regions) || row[0] != m.Regions[i] {
			return nil, fmt.Errorf("%w: matrix: row %d is of %q; rows come in the order of the columns", record.ErrInvalid, i+1, row[0])
		}
		for j, cell := range row[1:] {
			ms, err := strconv.ParseFloat(cell, 64)
			if err != nil || ms < 0 || math.IsNaN(ms) || ms > 60_000 {
				return nil, fmt.Errorf("%w: matrix: %q from %s to %s is not a time in milliseconds", record.ErrInvalid, cell, row[0], m.Regions[j])
			}
			m.rtt = append(m.rtt, time.Duration(ms*float64(time.Millisecond)))
		}
	}
}

// RTT is the round-trip time from one region to another, by index.
func (m *Matrix) RTT(from, to int) time.Duration { return m.rtt[from*len(m.Regions)+to] }

// Index finds a region by name; -1 if it is not there.
func (m *Matrix) Index(name string) int { return slices.Index(m.Regions, name) }

// First returns the matrix of the first n regions.
func (m *Matrix) First(n int) (*Matrix, error) {
	if n < 1 || n > len(m.Regions) {
		return nil, fmt.Errorf("%w: %d regions of a matrix that has %d", record.ErrInvalid, n, len(m.Regions))
	}
	out := &Matrix{Regions: m.Regions[:n]}
	for i := range n {
		for j := range n {
			out.rtt = append(out.rtt, m.RTT(i, j))
		}
	}
	return out, nil
}
