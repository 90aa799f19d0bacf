package simulator_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport lists, for each package of the simulator, the packages of the simulator that it
// may import. doc.go draws the same.
var mayImport = map[string][]string{
	"world":    nil,
	"measure":  {"world"},
	"scenario": {"measure", "world"},
	"compare":  {"measure", "world"},
	"hostile":  {"measure", "world"},
	"report":   {"scenario", "compare", "measure"},
}

func TestImportsPointOneWay(t *testing.T) {
	const prefix = "banyan/simulator/"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name, inside := strings.CutPrefix(fields[0], prefix)
		if !inside {
			continue
		}
		seen++
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the list, and not in doc.go", name)
		}
		for _, path := range fields[1:] {
			if imported, inside := strings.CutPrefix(path, prefix); inside && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
	if seen != len(mayImport) {
		t.Errorf("go list found %d packages, want %d", seen, len(mayImport))
	}
}
