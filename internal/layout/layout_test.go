package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layers lists the rooms from the bottom to the top. A package belongs to the room with
// the longest matching path: mesh/wire to "mesh/wire", transport/gossip to "transport". A
// package may import packages of lower layers, and of its own room. docs/architecture.md
// draws the same picture.
var layers = [][]string{
	{"internal"},
	{"record"},
	{"fec", "draft", "examples"},
	{"mesh/wire", "forms"},
	{"mesh/step"},
	{"mesh/tree", "mesh/swarm"},
	{"mesh"},
	{"versionstore", "shardstore", "rollout"},
	{"body"},
	{"transport"},
	{"coordinator/ledger", "coordinator/api", "simulator/world"},
	{"agent", "coordinator", "simulator/measure"},
	{"internal/fleet", "simulator/scenario", "simulator/compare", "simulator/hostile"},
	{"simulator/report"},
	{"simulator"},
	{"bench"},
	{"cmd"},
}

// Packages of the pure rooms do no I/O: they must not import the forbidden packages.
var (
	pure      = []string{"mesh", "rollout"}
	forbidden = []string{"net", "os", "os/exec", "io/fs", "log", "log/slog", "net/http", "syscall", "sync", "context"}
)

type pkg struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports", "banyan/...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// roomOf returns the room of a package and the layer of the room. ok is false if no room
// matches.
func roomOf(importPath string) (room string, layer int, ok bool) {
	path := strings.TrimPrefix(importPath, "banyan/")
	for i, rooms := range layers {
		for _, r := range rooms {
			matches := path == r || strings.HasPrefix(path, r+"/")
			if matches && len(r) > len(room) {
				room, layer, ok = r, i, true
			}
		}
	}
	return room, layer, ok
}

func TestImportsPointDownward(t *testing.T) {
	for _, p := range packages(t) {
		room, layer, ok := roomOf(p.ImportPath)
		if !ok {
			t.Errorf("%s is in no room; give the package a layer here, and a line in docs/architecture.md", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "banyan/") {
				continue
			}
			other, below, _ := roomOf(imported)
			if other != room && below >= layer {
				t.Errorf("%s imports %s, which is not in a lower layer", p.ImportPath, imported)
			}
		}
	}
}

func TestPureRoomsDoNoIO(t *testing.T) {
	for _, p := range packages(t) {
		for _, r := range pure {
			if p.ImportPath != "banyan/"+r && !strings.HasPrefix(p.ImportPath, "banyan/"+r+"/") {
				continue
			}
			for _, imported := range p.Imports {
				for _, f := range forbidden {
					if imported == f {
						t.Errorf("%s imports %s", p.ImportPath, imported)
					}
				}
			}
		}
	}
}

func TestOnlyTransportKnowsQUIC(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/quic-go/") && !strings.HasPrefix(p.ImportPath, "banyan/transport") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("the doc comment of %s does not begin with %q", p.ImportPath, want)
		}
	}
}
