package draft

import (
	"errors"
	"fmt"
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

// validate returns a Rejection if a document is invalid.
//
// The library collects an error for every invalid value, and each error has a copy of its
// location. Under the keyword "not" the library only asks whether a value is valid, so validate
// asks that first.
func validate(schema *jsonschema.Schema, d document) error {
	probe := &jsonschema.Schema{DraftVersion: 2020, Not: schema}
	if probe.Validate(d.value) != nil {
		return nil
	}
	if d.explaining > MaxMemory {
		return &Rejection{Reason: "the document is invalid under the schema of the config; " +
			"it has too many values, or is nested too deep, to say where"}
	}
	return explain(schema.Validate(d.value), d)
}

// explain returns a Rejection with the deepest cause of a validation error.
func explain(err error, d document) error {
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
	return &Rejection{
		Line:   d.line(invalid.InstanceLocation),
		Path:   pointerOf(invalid.InstanceLocation),
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
