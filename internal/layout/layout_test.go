package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// rank orders the rooms: a package may import those of a lower rank, and of its
// own room. docs/architecture.md draws the same.
var rank = map[string]int{
	"internal": 0,
	"record":   1, "fec": 2, "draft": 2, "examples": 2,
	"mesh": 3, "forms": 3,
	"versionstore": 4, "shardstore": 4, "rollout": 4,
	"body":      5,
	"transport": 6,
	"agent":     7, "coordinator": 7, "simulator": 7,
	"bench": 8,
	"cmd":   9,
}

// pure rooms do no I/O: these imports are not for them.
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

func room(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "banyan/"), "/")
	return first
}

func TestImportsPointDownward(t *testing.T) {
	for _, p := range packages(t) {
		from, known := rank[room(p.ImportPath)]
		if !known {
			t.Errorf("%s is in no room; give it a rank, and a line in docs/architecture.md", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "banyan/") || room(imported) == room(p.ImportPath) {
				continue
			}
			if rank[room(imported)] >= from {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, imported)
			}
		}
	}
}

func TestPureRoomsDoNoIO(t *testing.T) {
	for _, p := range packages(t) {
		for _, r := range pure {
			if p.ImportPath != "banyan/"+r {
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
			if strings.HasPrefix(imported, "github.com/quic-go/") && room(p.ImportPath) != "transport" {
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
