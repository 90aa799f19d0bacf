package draft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// CheckSchema checks that a JSON Schema compiles.
func CheckSchema(schema []byte) error {
	_, err := compile(schema)
	return err
}

// compile compiles a schema. Formats are asserted, in every draft of JSON Schema.
func compile(schema []byte) (*jsonschema.Schema, error) {
	documents, err := parseJSON(schema, true)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(closedLoader{})
	c.AssertFormat()
	if err := c.AddResource("schema.json", documents[0].value); err != nil {
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

// validate returns a Rejection if a document is invalid. To explain why, it uses about limit bytes
// of memory at most.
//
// The library collects an error for every invalid value, and each error has a copy of its
// location. So validate first asks only whether the document is valid, and explains only a part
// of a document with many values.
func validate(schema *jsonschema.Schema, d document, limit int) error {
	whole := place{schema, d.value, nil}
	if whole.valid() {
		return nil
	}
	if d.explaining <= limit {
		return explain(schema.Validate(d.value), d, nil)
	}
	// To search a document that is only deep would cost more than the document is worth.
	part, small := whole, false
	if d.values > limit/errorMemory {
		part, small = narrow(whole, limit)
	}
	if !small {
		return &Rejection{
			Line: d.line(part.location),
			Path: pointerOf(part.location),
			Reason: "a value at or below this place is invalid under the schema of the config; " +
				"there are too many values, or they are nested too deep, to say which",
		}
	}
	return explain(part.schema.Validate(part.value), d, part.location)
}

// explain returns a Rejection with the deepest cause of a validation error of the value at a
// location.
func explain(err error, d document, at []string) error {
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
	reason := invalid.Error()
	if _, after, found := strings.Cut(reason, "': "); found {
		reason = after
	}
	location := append(slices.Clone(at), invalid.InstanceLocation...)
	return &Rejection{
		Line:   d.line(location),
		Path:   pointerOf(location),
		Reason: cut(strings.TrimSpace(reason)),
	}
}

// cut shortens a reason to maxReason.
func cut(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason], "") + "…"
}

// pointerOf returns the JSON Pointer of a location: ["a", "b/c"] is "/a/b~1c".
func pointerOf(location []string) string {
	var b strings.Builder
	for _, part := range location {
		b.WriteString("/" + pointerEscapes.Replace(part))
	}
	return b.String()
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")
