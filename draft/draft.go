// Package draft checks a draft, the body that is to become a version: the draft must be
// well-formed for its content type, and valid under the JSON Schema of its config, if there is
// one.
//
// Entry points: [Check] for a body in memory, [CheckFile] and [CheckReader] for other bodies,
// [CheckSchema] for a schema. The CLI calls them so that the author hears of a mistake at
// once. The control API calls them because every version passes it.
//
// Data flow: the parser of the content type returns the documents of the body ([parserOf]), and
// each is validated by the compiled schema. Without a schema the parsers check a body and keep
// no values.
//
// A refused draft is a [*Rejection], which names the mistake and its line. A check takes time
// linear in the size of the body, and its memory is bounded by the limits in limits.go.
package draft

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// looksLikeJSON matches the begin of a file that is meant to be JSON: an object with a quoted key.
var looksLikeJSON = regexp.MustCompile(`^\s*\{\s*"`)

// TypeOfFile returns the content type of a file whose name says nothing: TypeJSON if the file
// is a JSON object or list, or begins like an object of JSON, else TypeAny. So a JSON document
// with a mistake, or with a byte-order mark, is refused, and does not become opaque bytes.
func TypeOfFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	begin := make([]byte, 512)
	n, err := io.ReadFull(f, begin)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	begin = withoutMark(begin[:n])
	if looksLikeJSON.Match(begin) {
		return TypeJSON, nil
	}
	begin = bytes.TrimSpace(begin)
	if len(begin) == 0 || begin[0] != '{' && begin[0] != '[' {
		return TypeAny, nil
	}
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	err = CheckReader(TypeJSON, info.Size(), nil, func() ([]byte, error) {
		body, err := os.ReadFile(path)
		return withoutMark(body), err
	})
	var rejection *Rejection
	switch {
	case err == nil:
		return TypeJSON, nil
	case errors.As(err, &rejection):
		return TypeAny, nil
	}
	return "", err
}

// Check parses body according to its content type. If schema is not empty, Check validates each
// document of the body. It returns a *Rejection if the draft is refused.
func Check(contentType string, body, schema []byte) error {
	parser, base, known, err := parserOf(contentType)
	if err != nil {
		return err
	}
	if !known {
		if len(schema) > 0 {
			reason := fmt.Sprintf("the config has a schema, and a body of type %s cannot be validated; "+
				"publish JSON, YAML or TOML", base)
			return &Rejection{Reason: reason}
		}
		return nil
	}
	if err := parser.checkSize(contentType, int64(len(body))); err != nil {
		return err
	}
	documents, err := parser.parse(body, len(schema) > 0)
	if err != nil || len(schema) == 0 {
		return err
	}
	compiled, err := compile(schema)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if err := validate(compiled, d, MaxMemory); err != nil {
			return err
		}
	}
	return nil
}

// checkSize refuses a body that is too large for the parser.
func (p parser) checkSize(contentType string, size int64) error {
	if size <= p.limit {
		return nil
	}
	reason := fmt.Sprintf("a body of type %s has %d bytes, the limit of a check is %d; publish the body as %s",
		contentType, size, p.limit, TypeAny)
	return &Rejection{Reason: reason}
}

// Checked reports whether bodies of a content type are parsed.
func Checked(contentType string) bool {
	_, _, known, err := parserOf(contentType)
	return err != nil || known
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
// parsed and the body is not too large.
func CheckReader(contentType string, size int64, schema []byte, read func() ([]byte, error)) error {
	parser, _, known, err := parserOf(contentType)
	if err != nil || !known {
		return Check(contentType, nil, schema)
	}
	if err := parser.checkSize(contentType, size); err != nil {
		return err
	}
	body, err := read()
	if err != nil {
		return err
	}
	return Check(contentType, body, schema)
}
