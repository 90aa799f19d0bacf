// Package draft checks a draft, the body that is to become a version: the draft must be
// well-formed for its content type, and valid under the JSON Schema of its config, if there is
// one.
//
// Entry points: [Check] for a body in memory, [CheckFile] and [CheckReader] for other bodies,
// [CheckSchema] for a schema. The CLI calls them so that the author hears of a mistake at
// once. The control API calls them because every version passes it.
//
// A refused draft is a [*Rejection], which names the mistake and its line.
package draft

import (
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of a check.
const (
	// MaxSchemaDepth is the largest depth of nesting in a parsed document.
	MaxSchemaDepth = 1000
	// MaxChecked is the largest parsed body, in bytes. Parsing needs several times
	// as much memory.
	MaxChecked = 64 << 20
)

// Rejection says why a draft cannot become a version.
type Rejection struct {
	// Line counts from 1; 0 if the line is unknown.
	Line int `json:"line,omitempty"`
	// Path is the JSON Pointer of the invalid value.
	Path   string `json:"path,omitempty"`
	Reason string `json:"reason"`
}

func (r *Rejection) Error() string {
	var b strings.Builder
	b.WriteString("draft rejected")
	if r.Line > 0 {
		fmt.Fprintf(&b, " at line %d", r.Line)
	}
	if r.Path != "" {
		fmt.Fprintf(&b, " (%s)", r.Path)
	}
	return b.String() + ": " + r.Reason
}

// At returns the rejection for use in a longer message: "line 3: /waves/0: reason".
func (r *Rejection) At() string {
	at := ""
	if r.Line > 0 {
		at = fmt.Sprintf("line %d: ", r.Line)
	}
	if r.Path != "" {
		at += r.Path + ": "
	}
	return at + r.Reason
}

// Content types. JSON, YAML and TOML are parsed; bodies of other types are opaque bytes.
const (
	TypeJSON = "application/json"
	TypeYAML = "application/yaml"
	TypeTOML = "application/toml"
	TypeText = "text/plain"
	TypeAny  = "application/octet-stream"
)

// TypeOf returns the content type for the extension of a file name.
func TypeOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return TypeJSON
	case ".yaml", ".yml":
		return TypeYAML
	case ".toml":
		return TypeTOML
	case ".txt", ".conf", ".ini", ".cfg", ".properties", ".env":
		return TypeText
	}
	return TypeAny
}

// Check parses body according to its content type. If schema is not empty, Check validates the
// parsed value. It returns a *Rejection if the draft is refused.
func Check(contentType string, body, schema []byte) error {
	base, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return &Rejection{Reason: fmt.Sprintf("content type %q: %s", contentType, err)}
	}
	parse, known := parsers[base]
	if !known {
		if len(schema) > 0 {
			reason := fmt.Sprintf("the config has a schema, and a body of type %s cannot be validated; "+
				"publish JSON, YAML or TOML", base)
			return &Rejection{Reason: reason}
		}
		return nil
	}
	value, lines, err := parse(body)
	if err != nil {
		return err
	}
	if len(schema) == 0 {
		return nil
	}
	compiled, err := compile(schema)
	if err != nil {
		return err
	}
	return explain(compiled.Validate(value), lines)
}

// Checked reports whether bodies of a content type are parsed.
func Checked(contentType string) bool {
	base, _, err := mime.ParseMediaType(contentType)
	return err != nil || parsers[base] != nil
}

// CheckFile is Check for a body in a file. It reads the file only if the content type is
// parsed.
func CheckFile(contentType, path string, schema []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return CheckReader(contentType, info.Size(), schema, func() ([]byte, error) { return os.ReadFile(path) })
}

// CheckReader is Check for a body of size bytes. It calls read only if the content type is
// parsed.
func CheckReader(contentType string, size int64, schema []byte, read func() ([]byte, error)) error {
	if !Checked(contentType) {
		return Check(contentType, nil, schema)
	}
	if size > MaxChecked {
		reason := fmt.Sprintf("a body of type %s has %d bytes, the limit of a check is %d; publish the body as %s",
			contentType, size, MaxChecked, TypeAny)
		return &Rejection{Reason: reason}
	}
	body, err := read()
	if err != nil {
		return err
	}
	return Check(contentType, body, schema)
}

// CheckSchema checks that a JSON Schema compiles.
func CheckSchema(schema []byte) error {
	_, err := compile(schema)
	return err
}

func compile(schema []byte) (*jsonschema.Schema, error) {
	document, _, err := parseJSON(schema)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(closedLoader{})
	if err := c.AddResource("schema.json", document); err != nil {
		return nil, &Rejection{Reason: "schema: " + err.Error()}
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		return nil, &Rejection{Reason: "schema: " + err.Error()}
	}
	return compiled, nil
}

// closedLoader refuses references to other documents, so that a schema cannot make the process
// read files or URLs.
type closedLoader struct{}

func (closedLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("schema refers to %s; put the whole schema in one document", url)
}

// explain returns a Rejection with the deepest cause of a validation error.
func explain(err error, lines lineIndex) error {
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return &Rejection{Reason: err.Error()}
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	path := pointerOf(invalid.InstanceLocation)
	reason := invalid.Error()
	if _, after, found := strings.Cut(reason, "': "); found {
		reason = after
	}
	return &Rejection{Line: lines.find(invalid.InstanceLocation), Path: path, Reason: strings.TrimSpace(reason)}
}

// pointerOf returns the JSON Pointer of a location: ["a", "b/c"] is "/a/b~1c".
func pointerOf(location []string) string {
	var b strings.Builder
	for _, part := range location {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
	}
	return b.String()
}
