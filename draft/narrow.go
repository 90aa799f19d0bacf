package draft

import (
	"maps"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// place is a value of a document, the schema that it must meet, and its location.
type place struct {
	schema   *jsonschema.Schema
	value    any
	location []string
}

// valid reports whether the value meets the schema. Under the keyword "not" the library only asks
// whether a value is valid, and collects no errors.
func (p place) valid() bool {
	probe := &jsonschema.Schema{DraftVersion: 2020, Not: p.schema}
	return probe.Validate(p.value) != nil
}

// narrow returns an invalid value within an invalid value p whose errors need at most limit bytes of
// memory. It follows the keywords that must all hold: $ref, allOf, and the schemas of items and
// properties. small is false if these keywords do not lead to such a value; then narrow returns
// the smallest invalid value that it found.
func narrow(p place, limit int) (found place, small bool) {
	for range maxNarrowing {
		if explainingOf(p.value, len(p.location), limit) <= limit {
			return p, true
		}
		next, ok := p.invalidPart()
		if !ok {
			return p, false
		}
		p = next
	}
	return p, false
}

// invalidPart returns the first invalid part of p.
func (p place) invalidPart() (part place, ok bool) {
	for _, same := range append([]*jsonschema.Schema{p.schema.Ref}, p.schema.AllOf...) {
		part := place{same, p.value, p.location}
		if same != nil && !part.valid() {
			return part, true
		}
	}
	switch value := p.value.(type) {
	case []any:
		for i, item := range value {
			part := place{p.itemSchema(i), item, p.below(strconv.Itoa(i))}
			if part.schema != nil && !part.valid() {
				return part, true
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			for _, schema := range p.propertySchemas(name) {
				part := place{schema, value[name], p.below(name)}
				if !part.valid() {
					return part, true
				}
			}
		}
	}
	return p, false
}

func (p place) below(step string) []string { return append(slices.Clone(p.location), step) }

// itemSchema returns the schema of an item of a list; nil if there is none.
func (p place) itemSchema(i int) *jsonschema.Schema {
	first := p.schema.PrefixItems
	rest := p.schema.Items2020
	switch items := p.schema.Items.(type) { // of drafts before 2020
	case *jsonschema.Schema:
		rest = items
	case []*jsonschema.Schema:
		first = items
		rest, _ = p.schema.AdditionalItems.(*jsonschema.Schema)
	}
	if i < len(first) {
		return first[i]
	}
	return rest
}

// propertySchemas returns the schemas of a property of an object.
func (p place) propertySchemas(name string) (schemas []*jsonschema.Schema) {
	if s := p.schema.Properties[name]; s != nil {
		schemas = append(schemas, s)
	}
	for pattern, s := range p.schema.PatternProperties {
		if pattern.MatchString(name) {
			schemas = append(schemas, s)
		}
	}
	additional, _ := p.schema.AdditionalProperties.(*jsonschema.Schema)
	if len(schemas) == 0 && additional != nil {
		schemas = append(schemas, additional)
	}
	return schemas
}

// explainingOf returns the memory that is needed to explain every value within v, which has a
// depth, being invalid. It stops counting past limit.
func explainingOf(v any, depth, limit int) int {
	memory := errorMemory + depth*stepMemory
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if memory > limit {
				break
			}
			memory += explainingOf(item, depth+1, limit-memory)
		}
	case map[string]any:
		for _, value := range v {
			if memory > limit {
				break
			}
			memory += errorMemory + depth*stepMemory // of the key
			memory += explainingOf(value, depth+1, limit-memory)
		}
	}
	return memory
}
