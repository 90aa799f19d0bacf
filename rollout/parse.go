package rollout

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"banyan/draft"
)

//go:embed plan.schema.json
var planSchema []byte

// Schema returns the JSON Schema of a plan.
func Schema() []byte { return bytes.Clone(planSchema) }

// ErrPlan means that a plan can't be carried out.
var ErrPlan = errors.New("invalid plan")

// MaxPlan is the maximum size of the text of a plan, in bytes.
const MaxPlan = 32 << 10

// ParsePlan reads a plan, YAML or JSON, and checks all that can be checked without a fleet:
// its fields, its waves and its gates. Errors name the place and what is expected there.
func ParsePlan(raw []byte) (Plan, error) {
	var p Plan
	if len(raw) > MaxPlan {
		return p, invalid("%d bytes, the limit is %d", len(raw), MaxPlan)
	}
	if err := draft.Check(draft.TypeYAML, raw, planSchema); err != nil {
		return p, explain(err)
	}
	var tree any
	documents := yaml.NewDecoder(bytes.NewReader(raw))
	if err := documents.Decode(&tree); err != nil && !errors.Is(err, io.EOF) {
		return p, invalid("%s", err)
	}
	if err := documents.Decode(new(any)); !errors.Is(err, io.EOF) {
		return p, invalid("more than one YAML document; a plan is one")
	}
	if err := refuseZeros("", tree); err != nil {
		return p, err
	}
	encoded, err := json.Marshal(labelsAsText(tree))
	if err != nil {
		return p, invalid("%s", err)
	}
	if err := json.Unmarshal(encoded, &p); err != nil {
		return p, invalid("%s", err)
	}
	return p, p.Validate()
}

// explain turns a rejection by the schema into an ErrPlan.
func explain(err error) error {
	var rejection *draft.Rejection
	if !errors.As(err, &rejection) {
		return err
	}
	return invalid("%s", rejection.At())
}

// moreThanZero are the fields in which a zero would silently become the default.
var moreThanZero = []string{"timeout", "minSuccess", "maxGone", "maxSkew", "every", "limit"}

// refuseZeros refuses a zero in the fields moreThanZero, and in the share of the stage.
func refuseZeros(where string, tree any) error {
	switch node := tree.(type) {
	case []any:
		for i, element := range node {
			if err := refuseZeros(fmt.Sprintf("%s[%d]", where, i), element); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			if name == "labels" {
				continue
			}
			at := strings.TrimPrefix(where+"."+name, ".")
			text, isText := node[name].(string)
			bounded := slices.Contains(moreThanZero, name) || at == "stage.share"
			if bounded && isText && !strings.ContainsAny(text, "123456789") {
				return invalid("%s is %s; it must be more than 0, or left out for the default", at, text)
			}
			if err := refuseZeros(at, node[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// labelsAsText turns the values of labels into text. YAML reads "canary: true" as a
// boolean, and the value of a label is a string.
func labelsAsText(tree any) any {
	plan, _ := tree.(map[string]any)
	waves, _ := plan["waves"].([]any)
	for _, w := range waves {
		wave, _ := w.(map[string]any)
		labels, _ := wave["labels"].(map[string]any)
		for k, v := range labels {
			labels[k] = fmt.Sprint(v)
		}
	}
	return tree
}

// invalid returns an ErrPlan.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPlan, fmt.Sprintf(format, args...))
}
