// Package draft checks the body of a version before there is one: that it is
// well-formed for its content type, and valid under the JSON Schema attached to
// its config, if any.
//
// Entry points: [Check] and [CheckSchema]. The CLI and the control API both call
// them: the first to tell the author at once, the second because nothing
// bypasses it.
//
// A refused draft is a [*Rejection]: what is wrong, and at which line.
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

// MaxSchemaDepth bounds how deeply a document that is checked may nest.
const MaxSchemaDepth = 1000

// Rejection says why a draft can't become a version.
type Rejection struct {
	Line   int    `json:"line,omitempty"` // counted from 1; 0: not known
	Path   string `json:"path,omitempty"` // JSON Pointer of the value, for schema errors
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

// At is the rejection as part of a longer message: "line 3: /waves/0: reason".
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

// The content types that are parsed; others are opaque bytes.
const (
	TypeJSON = "application/json"
	TypeYAML = "application/yaml"
	TypeTOML = "application/toml"
	TypeText = "text/plain"
	TypeAny  = "application/octet-stream"
)

// TypeOf guesses a content type from a file name.
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

// Check parses body as its content type says and, if schema is not empty,
// validates what it holds. It returns a *Rejection, or an error about the
// content type or schema themselves.
func Check(contentType string, body, schema []byte) error {
	base, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return &Rejection{Reason: fmt.Sprintf("content type %q: %s", contentType, err)}
	}
	parse, known := parsers[base]
	if !known {
		if len(schema) > 0 {
			return &Rejection{Reason: fmt.Sprintf("the config has a schema, which a body of type %s cannot be held against; publish JSON, YAML or TOML", base)}
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

// MaxChecked is the largest body, in bytes, whose content is checked: that takes
// several times as much memory.
const MaxChecked = 64 << 20

// Checked tells whether bodies of a content type are parsed.
func Checked(contentType string) bool {
	base, _, err := mime.ParseMediaType(contentType)
	return err != nil || parsers[base] != nil
}

// CheckFile is Check for a body in a file, which it reads only if its content is one to
// be checked.
func CheckFile(contentType, path string, schema []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return CheckReader(contentType, info.Size(), schema, func() ([]byte, error) { return os.ReadFile(path) })
}

// CheckReader is Check for a body of some size that read reads.
func CheckReader(contentType string, size int64, schema []byte, read func() ([]byte, error)) error {
	if !Checked(contentType) {
		return Check(contentType, nil, schema)
	}
	if size > MaxChecked {
		return &Rejection{Reason: fmt.Sprintf("a body of type %s and %d bytes: what is to be checked may have %d; publish it as %s", contentType, size, MaxChecked, TypeAny)}
	}
	body, err := read()
	if err != nil {
		return err
	}
	return Check(contentType, body, schema)
}

// CheckSchema reports a schema that does not compile.
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

// closedLoader keeps a schema from having the service read files or URLs.
type closedLoader struct{}

func (closedLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("schema refers to %s; put everything in one document", url)
}

// explain turns the deepest cause of a validation error into a Rejection.
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

func pointerOf(location []string) string {
	var b strings.Builder
	for _, part := range location {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
	}
	return b.String()
}
