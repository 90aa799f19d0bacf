package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

// outputs are the shapes of JSON by command, in the order of docs/json.md.
var outputs = []struct {
	command string
	value   any
}{
	{"publish", published{}},
	{"get", struct {
		Manifest record.Manifest `json:"manifest"`
		Body     []byte          `json:"body"`
	}{}},
	{"diff", struct {
		Config    string `json:"config"`
		From      uint64 `json:"from"`
		To        uint64 `json:"to"`
		Identical bool   `json:"identical"`
		Diff      string `json:"diff"`
	}{}},
	{"history", struct {
		Versions []api.Version `json:"versions"`
	}{}},
	{"schema set", struct {
		Config string `json:"config"`
		Schema bool   `json:"schema"`
	}{}},
	{"rollout start", api.Rollout{}},
	{"rollout history", struct {
		Rollouts []api.Rollout `json:"rollouts"`
	}{}},
	{"rollout lint", lintedPlan{}},
	{"rollback", rolledBack{}},
	{"delete", deletedConfig{}},
	{"store collect", api.Collected{}},
	{"plan list", api.Plans{}},
	{"plan get", api.Plan{}},
	{"policy two-persons", api.TwoPersons{}},
	{"freeze", api.Hold{}},
	{"freeze (list)", struct {
		Holds []api.Hold `json:"holds"`
	}{}},
	{"unlock", struct {
		Done bool `json:"done"`
	}{}},
	{"status CONFIG", api.ConfigStatus{}},
	{"agents", struct {
		Agents []api.Agent `json:"agents"`
	}{}},
	{"agents --all", struct {
		Hosts []api.Host `json:"hosts"`
	}{}},
	{"agents expect", struct {
		Hosts []api.ExpectedHost `json:"hosts"`
	}{}},
	{"agents retire", api.Host{}},
	{"cert agent", issuedIdentity{}},
	{"quarantine", struct {
		Agents []api.Quarantined `json:"agents"`
	}{}},
	{"drift", struct {
		Drifts []api.Drift `json:"drifts"`
	}{}},
	{"log", struct {
		Entries []api.LogEntry `json:"entries"`
	}{}},
	{"version", struct {
		Version string `json:"version"`
	}{}},
}

// like names the commands that print what another command prints.
var like = map[string][]string{
	"schema set":      {"schema remove"},
	"rollout start":   {"rollout status CONFIG", "rollout pause", "rollout resume", "rollout promote", "rollout abort", "rollout undo", "approve"},
	"freeze":          {"lock"},
	"unlock":          {"freeze --lift", "plan put", "plan delete", "plan default", "quarantine --release"},
	"rollout history": {"rollout status"},
	"cert agent":      {"cert coordinator", "cert client"},
}

// Every command has one shape of JSON, whatever its outcome: that of docs/json.md.
func TestTruthEveryCommandHasOneShapeOfJSON(t *testing.T) {
	c := newCLI(t, 2)
	seen := map[string]string{}
	ask := func(shape string, args ...string) {
		t.Helper()
		r := c.expect(0, nil, append(args, "-o", "json")...)
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(r.stdout), &fields); err != nil {
			t.Errorf("banyan %s: %v: %s", strings.Join(args, " "), err, r.stdout)
			return
		}
		for _, o := range outputs {
			if o.command != shape {
				continue
			}
			v := reflect.New(reflect.TypeOf(o.value))
			d := json.NewDecoder(bytes.NewReader([]byte(r.stdout)))
			d.DisallowUnknownFields()
			if err := d.Decode(v.Interface()); err != nil {
				t.Errorf("banyan %s: %v: %s", strings.Join(args, " "), err, r.stdout)
			}
			for _, f := range fieldsOf(v.Type().Elem()) {
				if _, ok := fields[f.name]; !ok && !f.optional {
					t.Errorf("banyan %s: no field %s: %s", strings.Join(args, " "), f.name, r.stdout)
				}
			}
			seen[shape] = r.stdout
		}
	}
	one, two := file(t, "a.json", `{"n": 1}`), file(t, "b.json", `{"n": 2}`)
	plan := file(t, "plan.yaml", "waves: [{share: 50%, bake: 1h}, {share: 100%}]\n")
	ask("publish", "publish", "a", one)
	ask("publish", "publish", "a", one)
	ask("publish", "publish", "a", two, "--no-activate")
	ask("publish", "publish", "a", two, "--wait", "0", "--force")
	ask("policy two-persons", "policy", "two-persons", "on", "b")
	ask("publish", "publish", "b", two)
	ask("status CONFIG", "status", "a")
	ask("history", "history", "a")
	ask("get", "get", "a", "--last")
	ask("diff", "diff", "a", "1", "2")
	ask("rollback", "rollback", "a")
	ask("rollback", "rollback", "a")
	ask("rollout start", "rollout", "start", "a", "1", "--plan", plan)
	ask("rollout start", "rollout", "status", "a")
	ask("rollout history", "rollout", "history", "a")
	ask("rollout history", "rollout", "status")
	ask("rollout start", "rollout", "abort", "a")
	ask("rollout lint", "rollout", "lint", plan)
	ask("rollout lint", "rollout", "lint", plan, "--offline")
	ask("unlock", "plan", "put", "careful", plan)
	ask("plan list", "plan", "list")
	ask("plan get", "plan", "get", "careful")
	ask("freeze", "freeze", "x", "--reason", "sale")
	ask("freeze", "lock", "x", "--reason", "audit")
	ask("freeze (list)", "freeze")
	ask("unlock", "unlock", "x")
	ask("schema set", "schema", "set", "a", file(t, "s.json", `{}`))
	ask("schema set", "schema", "remove", "a")
	ask("agents", "agents")
	ask("agents --all", "agents", "--all")
	ask("agents expect", "agents", "expect", "late", "--region", "eu")
	ask("agents retire", "agents", "retire", "late")
	ask("cert agent", "cert", "agent", "next", "--region", "eu")
	ask("cert agent", "cert", "client", "bob", "--region", "eu")
	ask("log", "log", "--limit", "1")
	ask("delete", "delete", "a", "--yes")
	ask("store collect", "store", "collect")
	ask("drift", "drift")
	ask("quarantine", "quarantine")
	ask("version", "version")
	for _, o := range outputs {
		if seen[o.command] == "" {
			t.Errorf("no command printed the shape of %s", o.command)
		}
	}
	const golden = "../../docs/json.md"
	page := jsonPage()
	if *update {
		if err := os.WriteFile(golden, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != page {
		t.Errorf("%s is not true any more; go test ./cmd/banyan -run ShapeOfJSON -update writes it anew (%v)", golden, err)
	}
}

const jsonIntro = `# The output of commands as JSON

With ` + "`-o json`" + ` a command prints one JSON document on standard output. Each command has one shape, whatever its
outcome. A field with a question mark is missing if it says nothing. This page is written by a test.

An error is a document on standard error:
` + "`{\"error\": {\"code\": …, \"message\": …, \"hint\": …, \"line\": …}}`" + `. The exit codes by code: usage 2;
invalid, rejected, forbidden and too_large 3; unreachable and unavailable 4; conflict 5; taken_back 6; timed_out, nobody and unknown 7;
interrupted 130; all others 1.

The outcome of publish is "unchanged" (a version with the same content is there), "stored" (not activated),
"waiting" (for a second person), "started" (the rollout goes on), "ended" (the rollout has ended, and not every host
has acknowledged), "unknown" (the coordinator stopped to answer) or "live".

## Commands
`

// jsonPage returns docs/json.md.
func jsonPage() string {
	p := page{}
	p.b.WriteString(jsonIntro)
	for _, o := range outputs {
		fmt.Fprintf(&p.b, "\n**banyan %s**", o.command)
		if names := like[o.command]; len(names) > 0 {
			fmt.Fprintf(&p.b, ", and %s", strings.Join(names, ", "))
		}
		p.b.WriteString("\n\n")
		p.fields(reflect.TypeOf(o.value))
	}
	p.b.WriteString("\n## Objects\n")
	for i := 0; i < len(p.objects); i++ {
		fmt.Fprintf(&p.b, "\n**%s**\n\n", p.objects[i].Name())
		p.fields(p.objects[i])
	}
	return p.b.String()
}

type page struct {
	b       strings.Builder
	objects []reflect.Type
}

func (p *page) fields(t reflect.Type) {
	p.b.WriteString("```\n")
	for _, f := range fieldsOf(t) {
		mark := ""
		if f.optional {
			mark = "?"
		}
		fmt.Fprintf(&p.b, "%s%s: %s\n", f.name, mark, p.kind(f.of))
	}
	p.b.WriteString("```\n")
}

// kind names the kind of values of a type, and notes the objects to describe.
func (p *page) kind(t reflect.Type) string {
	textual := reflect.TypeFor[encoding.TextMarshaler]()
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t.Implements(textual), t.Kind() == reflect.String:
		return "text"
	case t == reflect.TypeFor[[]byte]():
		return "base64"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Pointer:
		return p.kind(t.Elem()) + " or null"
	case reflect.Slice:
		return "list of " + p.kind(t.Elem())
	case reflect.Map:
		return "object of " + p.kind(t.Elem()) + " by " + p.kind(t.Key())
	case reflect.Struct:
		if !slices.Contains(p.objects, t) {
			p.objects = append(p.objects, t)
		}
		return t.Name()
	}
	return "number"
}

// A field is a field of a JSON object.
type field struct {
	name     string
	of       reflect.Type
	optional bool
}

// fieldsOf returns the fields of the JSON object of a struct.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			all = append(all, fieldsOf(f.Type)...)
		case name != "-" && f.IsExported():
			if name == "" {
				name = f.Name
			}
			all = append(all, field{name, f.Type, strings.Contains(options, "omit")})
		}
	}
	return all
}
