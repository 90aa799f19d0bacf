package draft

import (
	"errors"
	"strings"
	"testing"
)

const schema = `{"type":"object","required":["limit"],"properties":{"limit":{"type":"integer","maximum":10},"on":{"type":"boolean"}}}`

func TestRejectedDraftNamesLineAndReason(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body, schema string
		line                            int
		reason                          string
	}{
		{"json comma", TypeJSON, "{\n  \"a\": 1,\n  \"b\": }\n", "", 3, "not JSON"},
		{"json cut short", TypeJSON, "{\n\"a\": [1,\n", "", 3, "ends too early"},
		{"json twice", TypeJSON, "{\n\"a\": 1,\n\"a\": 2\n}", "", 3, "appears twice"},
		{"json two documents", TypeJSON, "{}\n{}", "", 2, "more data"},
		{"json empty", TypeJSON, "", "", 1, "ends too early"},
		{"yaml indent", TypeYAML, "a:\n  b: 1\n c: 2\n", "", 3, "not YAML"},
		{"yaml twice", TypeYAML, "a: 1\nb: 2\na: 3\n", "", 3, "not YAML"},
		{"yaml second document", TypeYAML, "a: 1\n---\nb: [\n", "", 4, "not YAML"},
		{"toml", TypeTOML, "a = 1\nb = \n", "", 2, "not TOML"},
		{"toml twice", TypeTOML, "a = 1\na = 2\n", "", 2, "not TOML"},
		{"json schema type", TypeJSON, "{\n  \"limit\": 1,\n  \"on\": 3\n}", schema, 3, "boolean"},
		{"json schema missing", TypeJSON, "{\n}", schema, 1, "limit"},
		{"yaml schema maximum", TypeYAML, "# limits\non: true\nlimit: 11\n", schema, 3, "10"},
		{"toml schema type", TypeTOML, "on = true\nlimit = \"x\"\n", schema, 2, "integer"},
		{"schema over text", TypeText, "x", schema, 0, "cannot be validated"},
		{"content type", "a/b/c", "x", "", 0, "content type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Check(c.contentType, []byte(c.body), []byte(c.schema))
			var r *Rejection
			if !errors.As(err, &r) {
				t.Fatalf("got %v, want a rejection", err)
			}
			if r.Line != c.line || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got line %d, %q; want line %d, …%s…", r.Line, r.Reason, c.line, c.reason)
			}
		})
	}
}

func TestGoodDraftsPass(t *testing.T) {
	for _, c := range []struct{ contentType, body, schema string }{
		{TypeJSON, `{"limit": 3, "on": true}`, schema},
		{TypeJSON + "; charset=utf-8", `[1, 2]`, ""},
		{TypeYAML, "limit: 3\n", schema},
		{TypeYAML, "1: a\ntrue: b\n", ""},
		{TypeTOML, "limit = 3\nwhen = 2026-01-01\n", schema},
		{TypeText, "server { listen 80; }", ""},
		{TypeAny, "\x00\xff", ""},
	} {
		if err := Check(c.contentType, []byte(c.body), []byte(c.schema)); err != nil {
			t.Errorf("%s %q: %v", c.contentType, c.body, err)
		}
	}
}

func TestSchemaMayNotReachOutside(t *testing.T) {
	for _, ref := range []string{"file:///etc/passwd", "http://127.0.0.1:1/x.json", "other.json"} {
		if err := CheckSchema([]byte(`{"$ref": "` + ref + `"}`)); err == nil {
			t.Errorf("a schema that refers to %s was taken", ref)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(TypeJSON, []byte(`{"a":[1,{"b":null}]}`))
	f.Add(TypeYAML, []byte("a: &x [1]\nb: *x\n"))
	f.Add(TypeTOML, []byte("[a.b]\nc = 1\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		_ = Check(contentType, body, []byte(schema))
	})
}
