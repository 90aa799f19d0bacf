package draft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// rejects checks that a draft is refused at a line, for a reason.
func rejects(t *testing.T, contentType, body, schema string, line int, reason string) {
	t.Helper()
	err := Check(contentType, []byte(body), []byte(schema))
	var r *Rejection
	if !errors.As(err, &r) {
		t.Errorf("%s %.60q: got %v, want a rejection", contentType, body, err)
		return
	}
	if r.Line != line || !strings.Contains(r.Reason, reason) {
		t.Errorf("%s %.60q: got line %d, %.300q; want line %d, …%s…", contentType, body, r.Line, r.Reason, line, reason)
	}
}

func accepts(t *testing.T, contentType, body, schema string) {
	t.Helper()
	if err := Check(contentType, []byte(body), []byte(schema)); err != nil {
		t.Errorf("%s %.60q: %.300v", contentType, body, err)
	}
}

// A schema holds for every document of a stream.
func TestTruthASchemaHoldsForEveryDocument(t *testing.T) {
	accepts(t, TypeYAML, "limit: 1\n---\nlimit: 2\n", schema)
	rejects(t, TypeYAML, "limit: 1\n---\nlimit: 2\n---\n\nlimit: 11\n", schema, 6, "10")
	rejects(t, TypeYAML, "limit: 1\n---\non: true\n", schema, 3, "limit")
	rejects(t, TypeYAML, "# nothing\n", schema, 1, "object")
}

// Infinity and NaN are values of YAML and TOML; only a schema has no type for them.
func TestTruthInfinityIsRefusedBySchemasOnly(t *testing.T) {
	accepts(t, TypeYAML, "a: .inf\nb: -.inf\nc: .nan\n", "")
	accepts(t, TypeTOML, "a = inf\nb = nan\n", "")
	rejects(t, TypeYAML, "limit: 1\nb:\n  c: .inf\n", schema, 3, ".inf is not a number for a JSON Schema")
	rejects(t, TypeTOML, "limit = 1\n[b]\nc = nan\n", schema, 3, "inf and nan are not numbers for a JSON Schema")
}

// Bytes that parsers on hosts trip over are named.
func TestTruthTextIsUTF8WithoutAMark(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	rejects(t, TypeJSON, mark+"{}", "", 1, "byte-order mark (bytes ef bb bf)")
	rejects(t, TypeTOML, mark+"a = 1", "", 1, "byte-order mark")
	rejects(t, TypeJSON, "\xff\xfe{\x00}\x00", "", 1, "byte-order mark")
	rejects(t, TypeJSON, "{\n\"a\": \"\xff\"}", "", 2, "byte 0xff at offset 8 is not UTF-8")
	rejects(t, TypeTOML, "a = 1\nb = \"\xff\"\n", "", 2, "is not UTF-8")
	rejects(t, TypeYAML, "a: 1\nb: \xff\n", "", 2, "is not UTF-8")
	accepts(t, TypeYAML, mark+"a: 1\n", "") // YAML allows it
}

// Types with a suffix are checked as what they are.
func TestTruthTypesWithASuffixAreChecked(t *testing.T) {
	for _, contentType := range []string{"text/json", "application/problem+json", "application/vnd.oai.openapi+yaml", "text/x-yaml"} {
		rejects(t, contentType, "{\"a\": [}", "", 1, "not ")
	}
}

// The keyword "format" is checked, whatever draft the schema says.
func TestTruthFormatsAreAsserted(t *testing.T) {
	for _, draft := range []string{"", `"$schema": "https://json-schema.org/draft/2019-09/schema",`} {
		schema := `{` + draft + `"properties": {"at": {"format": "date-time"}, "day": {"format": "date"}, "ip": {"format": "ipv4"}}}`
		rejects(t, TypeJSON, "{\n\"ip\": \"10.0.0.256\"}", schema, 2, "ipv4")
		rejects(t, TypeYAML, "at: noon\n", schema, 1, "date-time")
		accepts(t, TypeYAML, "at: 2026-03-01T12:00:00Z\nday: 2026-03-01\nip: 10.0.0.1\n", schema)
		accepts(t, TypeTOML, "at = 2026-03-01T12:00:00Z\nday = 2026-03-01\n", schema)
		accepts(t, TypeJSON, `{"at": "2026-03-01T12:00:00Z"}`, schema)
	}
}

// array returns an honest list of at least size bytes, one object a line; the last one is not
// under the limit of the schema if invalid is true.
func array(size int, invalid bool) string {
	var b strings.Builder
	b.WriteString("[")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "{\"name\": \"host-%d\", \"limit\": %d},\n", i, i%10)
	}
	last := 3
	if invalid {
		last = 33
	}
	fmt.Fprintf(&b, "{\"limit\": %d}]", last)
	return b.String()
}

const listSchema = `{"items": ` + schema + `}`

// The time of a check is linear: with a count of lines for each value, this test would take a
// quarter of an hour.
func TestTruthALargeListIsChecked(t *testing.T) {
	const size = 8 << 20
	accepts(t, TypeJSON, array(size, false), listSchema)
	invalid := array(size/8, true)
	rejects(t, TypeJSON, invalid, listSchema, 1+strings.Count(invalid, "\n"), "10")
	var y strings.Builder
	for i := range 200_000 { // the decoder of the library compares each key with each other key
		fmt.Fprintf(&y, "key-%d: %d\n", i, i)
	}
	accepts(t, TypeYAML, y.String(), `{"additionalProperties": {"type": "integer"}}`)
	rejects(t, TypeYAML, y.String()+"key-7: 1\n", "", 200_001, "already defined at line 8")
}

// The memory of a check is bounded, whatever the shape of the body.
func TestTruthTheMemoryOfACheckIsBounded(t *testing.T) {
	const nested = `{"$ref": "#/$defs/list", "$defs": {"list": {"items": {"$ref": "#/$defs/list"}, "type": "array"}}}`
	deep := strings.Repeat("[", 900) + "1" + strings.Repeat("]", 900)
	wide := strings.Repeat("[", 900) + "1" + strings.Repeat(",1", 450_000) + strings.Repeat("]", 900)
	objects := strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900)
	many := func(what string, n int) string { return "[" + what + strings.Repeat(","+what, n-1) + "]" }
	long := strings.Repeat("a.", 900) + "a = 1\n"
	for _, c := range []struct{ name, contentType, body, schema string }{
		{"deep", TypeJSON, many(deep, 500), ""},
		{"deep with a schema", TypeJSON, many(deep, 500), nested},
		{"wide at the bottom", TypeJSON, wide, nested},
		{"deep objects", TypeJSON, many(objects, 160), `{"type": "array"}`},
		{"empty lists", TypeJSON, many("[]", 300_000), nested},
		{"deep YAML", TypeYAML, many(deep, 500), nested},
		{"dotted keys", TypeTOML, "[[x]]\n" + strings.Repeat("[[x]]\n"+long, 450), `{"type": "object"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Check(c.contentType, []byte(c.body), []byte(c.schema))
			runtime.ReadMemStats(&after)
			used := (after.TotalAlloc - before.TotalAlloc) >> 20
			t.Logf("%d KiB: %d MiB allocated in all, %.100v", len(c.body)>>10, used, err)
			if limit := uint64(2 * MaxMemory >> 20); used > limit { // most of it is garbage at once
				t.Errorf("%d MiB were allocated, the limit is %d", used, limit)
			}
		})
	}
}

// What would exhaust the stack or the memory is refused, with the reason.
func TestTruthExplosiveDraftsAreRefused(t *testing.T) {
	rejects(t, TypeJSON, strings.Repeat("[", 2000), "", 1, "nested more than 1000 deep")
	rejects(t, TypeYAML, strings.Repeat("[", 2000)+strings.Repeat("]", 2000), "", 1, "nested more than 1000 deep")
	rejects(t, TypeTOML, "b = 1\n"+strings.Repeat("a.", 2_000_000)+"a = 1", "", 2, "nested more than 1000 deep")
	rejects(t, TypeJSON, "{\"limit\":\n1e999999999}", schema, 2, "exponent too large")
	rejects(t, TypeJSON, strings.Repeat("9", 2000), schema, 1, "is too long")
	rejects(t, TypeJSON, "["+strings.Repeat("{},", 1_000_000)+"{}]", `{"type": "array"}`, 1, "too many values for a check")
	laughs := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	rejects(t, TypeYAML, laughs, "", 1, "too many values for a check")
	rejects(t, TypeYAML, "a: &a\n  b: *a\n", "", 2, `anchor "a" contains itself`)
	rejects(t, TypeYAML, strings.Repeat("- a\n", MaxCheckedTree/4+1), "", 0, "the limit of a check is")
}

// The values of YAML are those that the authors of programs expect.
func TestYAMLMerges(t *testing.T) {
	body := "base: &base {limit: 3, on: true}\nuse:\n  <<: *base\n  limit: 4\nboth:\n  <<: [*base, {on: 3}]\n"
	accepts(t, TypeYAML, body, `{"properties": {"use": {"const": {"limit": 4, "on": true}}, "both": {"const": {"limit": 3, "on": true}}}}`)
	rejects(t, TypeYAML, "a:\n  <<: 3\n", "", 2, "map merge requires")
	rejects(t, TypeYAML, "? [a]\n: 3\n", "", 1, "a key is a list or a mapping")
	accepts(t, TypeYAML, "a: !custom x\nb: 0x10\nc: 1_000\nd: ~\n", `{"properties": {"a": {"const": "x"}, "b": {"const": 16}, "c": {"const": 1000}, "d": {"type": "null"}}}`)
}

// Lines of TOML are found in tables, lists of tables and inline tables.
func TestTOMLLines(t *testing.T) {
	const schema = `{"additionalProperties": {"$ref": "#/$defs/all"}, "$defs": {"all": {
		"not": {"type": "string"}, "items": {"$ref": "#/$defs/all"}, "additionalProperties": {"$ref": "#/$defs/all"}}}}`
	for _, c := range []struct {
		body string
		line int
	}{
		{"a = 1\nb = 'x'\n", 2},
		{"[t]\na = 1\n[t.u]\nb = 'x'\n", 4},
		{"[[t]]\na = 1\n[[t]]\nb = 'x'\n", 4},
		{"[[t]]\na = 1\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 'x'\n", 7},
		{"a = [\n1,\n# no\n'x',\n]\n", 4},
		{"a = {b = 1, c.d = 'x'}\n", 1},
		{"\"a.b\".c = 1\n'a.b'.d = 'x'\n", 2},
	} {
		rejects(t, TypeTOML, c.body, schema, c.line, "not")
	}
}

func BenchmarkCheck(b *testing.B) {
	deep := strings.Repeat("[", 900) + "1" + strings.Repeat("]", 900)
	for _, c := range []struct{ name, body, schema string }{
		{"1MB", array(1_000_000, false), listSchema},
		{"4MB", array(4_000_000, false), listSchema},
		{"8MB", array(8_000_000, false), listSchema},
		{"4MB-without-schema", array(4_000_000, false), ""},
		{"1MB-deep", "[" + strings.TrimSuffix(strings.Repeat(deep+",", 500), ",") + "]", `{"type": "array"}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(TypeJSON, []byte(c.body), []byte(c.schema)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A document with too many values to explain all of them still has the place of a mistake.
func TestTruthAMistakeInALargeDocumentHasItsPlace(t *testing.T) {
	const n = 1000
	list := "{\"hosts\": [\n" + strings.Repeat("1,\n", n) + "\"x\",\n1]}"
	documents, err := parseJSON([]byte(list), true)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		schema, reason string
		line           int
	}{
		"items":       {`{"properties": {"hosts": {"items": {"type": "integer"}}}}`, "got string, want integer", n + 2},
		"draft 7":     {`{"$schema": "http://json-schema.org/draft-07/schema#", "additionalProperties": {"items": {"type": "integer"}}}`, "want integer", n + 2},
		"a reference": {`{"allOf": [{"$ref": "#/$defs/all"}], "$defs": {"all": {"patternProperties": {"^h": {"items": {"type": "integer"}}}}}}`, "want integer", n + 2},
		"a prefix":    {`{"properties": {"hosts": {"prefixItems": [true], "items": {"type": "integer"}}}}`, "want integer", n + 2},
		"no part":     {`{"properties": {"hosts": {"maxItems": 3}}}`, "at or below this place", 1},
	} {
		compiled, err := compile([]byte(c.schema))
		if err != nil {
			t.Fatal(err)
		}
		var r *Rejection
		if err := validate(compiled, documents[0], n); !errors.As(err, &r) || r.Line != c.line || !strings.Contains(r.Reason, c.reason) {
			t.Errorf("%s: %.200v, want line %d, %s", what, err, c.line, c.reason)
		}
	}
}

// A mistake in JSON does not make it opaque bytes.
func TestTruthBrokenJSONIsNotGuessedToBeBytes(t *testing.T) {
	for body, want := range map[string]string{
		`{"a": 1`:              TypeJSON,
		"\n { \n\"a\": [}":     TypeJSON,
		`[1, 2]`:               TypeJSON,
		"[section]\nkey = 1\n": TypeAny,
		"{{ .Host }}":          TypeAny,
		"{\n  admin off\n}\n":  TypeAny,
		"key: 1\n":             TypeAny,
		// With a byte-order mark.
		"\xef\xbb\xbf{\"a\": 1}":                   TypeJSON,
		"\xef\xbb\xbf[1, 2]":                       TypeJSON,
		"\xef\xbb\xbf[section]\nkey = 1\n":         TypeAny,
		"\xff\xfe{\x00\"\x00a\x00\"\x00:\x001\x00": TypeJSON,
		"\xfe\xff\x00{\x00}":                       TypeJSON,
		"\xfe\xff\x00k\x00:":                       TypeAny,
	} {
		path := filepath.Join(t.TempDir(), "draft")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := TypeOfFile(path); got != want || err != nil {
			t.Errorf("%q: %s, %v; want %s", body, got, err, want)
		}
	}
}
