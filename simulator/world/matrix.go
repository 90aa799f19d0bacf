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

// Matrix holds the round-trip times between regions.
type Matrix struct {
	Regions []string
	rtt     []time.Duration // row by row, in the order of Regions
}

// DefaultMatrix is the preset that is used if no matrix is named.
const DefaultMatrix = "ibm-2024"

// maxRegions is the largest number of regions in a matrix.
const maxRegions = 256

// Presets returns the names of the matrices that come with the simulator.
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
		return nil, fmt.Errorf("%w: no matrix %q; name one of %s, or a CSV file",
			ErrInvalid, name, strings.Join(Presets(), ", "))
	}
	defer f.Close()
	return ReadMatrix(f)
}

// OpenMatrix returns the preset called name, or reads the CSV file called name. The path of
// a file is relative to dir. An empty name means DefaultMatrix.
func OpenMatrix(name, dir string) (*Matrix, error) {
	if name == "" {
		name = DefaultMatrix
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

// ReadMatrix reads a matrix from CSV. The first line is "from,a,b,…" with the names of the
// regions. Each further line is the name of a region and its round-trip times to all
// regions, in milliseconds. Lines that begin with '#' are comments, such as the source of
// the numbers.
func ReadMatrix(r io.Reader) (*Matrix, error) {
	c := csv.NewReader(r)
	c.Comment = '#'
	c.TrimLeadingSpace = true
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: matrix: %s", ErrInvalid, err)
	}
	m := &Matrix{Regions: head[1:]}
	if n := len(m.Regions); n == 0 || n > maxRegions {
		return nil, fmt.Errorf("%w: matrix of %d regions; 1 to %d are possible", ErrInvalid, n, maxRegions)
	}
	for _, name := range m.Regions {
		if err := record.ValidateRegion(name); err != nil {
			return nil, fmt.Errorf("%w: matrix: %w", ErrInvalid, err)
		}
	}
	return m, m.readRows(c)
}

// readRows reads one row per region, in the order of the columns.
func (m *Matrix) readRows(c *csv.Reader) error {
	for i := 0; ; i++ {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			if i != len(m.Regions) {
				return fmt.Errorf("%w: matrix: %d columns and %d rows", ErrInvalid, len(m.Regions), i)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: matrix: %s", ErrInvalid, err)
		}
		if i >= len(m.Regions) || row[0] != m.Regions[i] {
			return fmt.Errorf("%w: matrix: row %d is for %q; the rows must have the order of the columns",
				ErrInvalid, i+1, row[0])
		}
		for j, cell := range row[1:] {
			ms, err := strconv.ParseFloat(cell, 64)
			if err != nil || ms < 0 || math.IsNaN(ms) || ms > 60_000 {
				return fmt.Errorf("%w: matrix: %q from %s to %s is not a time in milliseconds",
					ErrInvalid, cell, row[0], m.Regions[j])
			}
			m.rtt = append(m.rtt, time.Duration(ms*float64(time.Millisecond)))
		}
	}
}

// RTT returns the round-trip time between two regions, by index.
func (m *Matrix) RTT(from, to int) time.Duration { return m.rtt[from*len(m.Regions)+to] }

// Index returns the index of a region; -1 if the matrix has no such region.
func (m *Matrix) Index(name string) int { return slices.Index(m.Regions, name) }

// First returns the matrix of the first n regions.
func (m *Matrix) First(n int) (*Matrix, error) {
	if n < 1 || n > len(m.Regions) {
		return nil, fmt.Errorf("%w: %d regions of a matrix that has %d", ErrInvalid, n, len(m.Regions))
	}
	out := &Matrix{Regions: m.Regions[:n]}
	for i := range n {
		for j := range n {
			out.rtt = append(out.rtt, m.RTT(i, j))
		}
	}
	return out, nil
}
