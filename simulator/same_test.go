package simulator_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"

	"banyan/simulator/hostile"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// The committed file testdata/histories.txt has one line for each history and golden
// file that a refactoring must leave as it is:
//
//	run nodes=20000 seed=1 body=4194304  3d03118011c1830e
//	hostile seeds=100..199               9bfc27dc3a0d1b5e
//	file ../testdata/vectors.json        <SHA-256>
//
// The everyday test checks the golden files and a few of the histories. `make same`
// sets -same and checks all of them; with -update as well, it writes the file anew.
var (
	sameAll    = flag.Bool("same", false, "check every recorded history, not a few")
	sameUpdate = flag.Bool("update", false, "with -same: record the histories anew")
)

const (
	historiesFile = "testdata/histories.txt"
	hostileBlock  = 100 // seeds on one line
	hostileBlocks = 50
)

// sameCase is one line of the file. everyday reports whether the everyday test checks it.
type sameCase struct {
	name     string
	everyday bool
	hash     func() (string, error)
}

func runCase(nodes int, seed uint64, body int64, everyday bool) sameCase {
	return sameCase{fmt.Sprintf("run nodes=%d seed=%d body=%d", nodes, seed, body), everyday, func() (string, error) {
		matrix, err := world.OpenMatrix("ibm-2024", "")
		if err != nil {
			return "", err
		}
		cfg := world.Config{
			Seed:      seed,
			Agents:    world.Uniform(nodes, len(matrix.Regions)),
			Zones:     3,
			Fanout:    32,
			Heads:     world.DefaultHeads,
			BodyBytes: body,
			PushLimit: 16 << 10,
			Network:   world.Network{Matrix: matrix},
		}
		r, err := measure.Fleet(cfg)
		if err != nil {
			return "", err
		}
		return r.History, nil
	}}
}

func hostileCase(first int, everyday bool) sameCase {
	return sameCase{fmt.Sprintf("hostile seeds=%d..%d", first, first+hostileBlock-1), everyday, func() (string, error) {
		d := xxhash.New()
		for seed := first; seed < first+hostileBlock; seed++ {
			out, err := hostile.New(uint64(seed)).Run(false)
			if err != nil {
				return "", err
			}
			if len(out.Violations) > 0 {
				return "", fmt.Errorf("seed %d: %q", seed, out.Violations)
			}
			fmt.Fprintf(d, "%d %s %d %d\n", seed, out.History, out.Events, out.Effects)
		}
		return fmt.Sprintf("%016x", d.Sum64()), nil
	}}
}

func fileCase(path string) sameCase {
	return sameCase{"file " + path, true, func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		d := sha256.New()
		for line := range bytes.Lines(b) {
			if !bytes.HasPrefix(line, []byte("#")) { // prose may be rewritten
				d.Write(line)
			}
		}
		return fmt.Sprintf("%x", d.Sum(nil)), nil
	}}
}

func sameCases(t *testing.T) []sameCase {
	cases := []sameCase{runCase(2_000, 1, 1<<10, true)}
	// The runs with a body take longest, so they begin first.
	for seed := uint64(1); seed <= 3; seed++ {
		cases = append(cases, runCase(20_000, seed, 4<<20, false))
	}
	for seed := uint64(1); seed <= 3; seed++ {
		cases = append(cases, runCase(20_000, seed, 1<<10, false))
	}
	for block := range hostileBlocks {
		cases = append(cases, hostileCase(block*hostileBlock, block == 0))
	}
	for _, pattern := range []string{"../mesh/testdata/scenarios/*.txt", "../rollout/testdata/scenarios/*", "../testdata/vectors.json"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no golden file matches %s (%v)", pattern, err)
		}
		for _, p := range paths {
			cases = append(cases, fileCase(p))
		}
	}
	return cases
}

// recordedHistories reads the committed file: hash by name.
func recordedHistories(t *testing.T) map[string]string {
	b, err := os.ReadFile(historiesFile)
	if err != nil && !*sameUpdate {
		t.Fatal(err)
	}
	recorded := map[string]string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		recorded[strings.Join(fields[:len(fields)-1], " ")] = fields[len(fields)-1]
	}
	return recorded
}

// A refactoring changes no history of the protocol: one seed gives the same effects, in
// the same order, as on the commit that recorded the file.
func TestHistoriesAreUnchanged(t *testing.T) {
	recorded := recordedHistories(t)
	cases := sameCases(t)
	if !*sameAll {
		cases = slices.DeleteFunc(cases, func(c sameCase) bool { return !c.everyday })
	}
	got := make([]string, len(cases))
	var group sync.WaitGroup
	slots := make(chan struct{}, 2) // each run of 20,000 hosts needs about 1 GiB
	for i, c := range cases {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			hash, err := c.hash()
			if err != nil {
				t.Errorf("%s: %s", c.name, err)
			}
			got[i] = hash
		})
	}
	group.Wait()
	if t.Failed() {
		t.Fatalf("a history that can't be made is neither compared nor recorded")
	}

	if *sameAll && *sameUpdate {
		var b bytes.Buffer
		for i, c := range cases {
			fmt.Fprintf(&b, "%s %s\n", c.name, got[i])
		}
		if err := os.WriteFile(historiesFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, c := range cases {
		want, ok := recorded[c.name]
		switch {
		case !ok:
			t.Errorf("%s: not recorded in %s; `make same-update` records it", c.name, historiesFile)
		case got[i] != want:
			t.Errorf("%s: %s, recorded %s", c.name, got[i], want)
		}
		delete(recorded, c.name)
	}
	if *sameAll {
		for name := range recorded {
			t.Errorf("%s is recorded and no longer there", name)
		}
	}
}
