package draft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var yamlLine = regexp.MustCompile(`line (\d+): ?`)

// parseYAML parses every document of a stream. A stream without a document counts as one empty
// document.
func parseYAML(body []byte, keep bool) ([]document, error) {
	if byteOrderMark(body) == "" { // with a mark, YAML may be UTF-16
		if err := checkText("YAML", body); err != nil {
			return nil, err
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(body))
	r := &yamlReader{keep: keep, open: map[*yaml.Node]bool{}}
	var documents []document
	for {
		var node yaml.Node
		err := d.Decode(&node)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, yamlRejection(err)
		}
		value, err := r.value(&node, 0)
		if err != nil {
			return nil, err
		}
		find := func(location []string) int { return lineInYAML(&node, location) }
		documents = append(documents, document{value: value, line: find, explaining: r.used.explaining, values: r.used.values})
	}
	if len(documents) == 0 {
		documents = []document{{line: func([]string) int { return 1 }}}
	}
	return documents, nil
}

func yamlRejection(err error) error {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	reason = strings.TrimPrefix(reason, "unmarshal errors:\n  ")
	r := &Rejection{Reason: "not YAML: " + yamlLine.ReplaceAllString(reason, "")}
	m := yamlLine.FindStringSubmatch(reason)
	switch {
	case m == nil && !strings.HasPrefix(reason, "unknown anchor"):
		r.Line = 1 // the library does not name the first line
	case m != nil:
		r.Line, _ = strconv.Atoi(m[1])
		// The library counts lines from 0 in errors of its parser, and from 1 in errors of its
		// scanner and decoder.
		if strings.Contains(reason, "did not find expected") {
			r.Line++
		}
	}
	return r
}

// yamlReader converts nodes into the values that a JSON decoder would return: keys are
// strings, times are strings as they are written. The decoder of the library is not used for
// that because it compares each key of a mapping with each other key.
type yamlReader struct {
	keep bool
	used account
	// open are the anchored nodes that are being read.
	open map[*yaml.Node]bool
}

func rejectYAML(n *yaml.Node, format string, args ...any) error {
	return &Rejection{Line: n.Line, Reason: "not YAML: " + fmt.Sprintf(format, args...)}
}

// value returns the value of a node at a depth; nil if the reader does not keep values.
func (r *yamlReader) value(n *yaml.Node, depth int) (any, error) {
	if depth > MaxSchemaDepth {
		return nil, &Rejection{Line: n.Line, Reason: tooDeep()}
	}
	memory := valueMemory + len(n.Value)
	if n.Kind == yaml.MappingNode {
		memory = objectMemory
	}
	if !r.used.add(depth, memory) {
		return nil, &Rejection{Line: n.Line, Reason: tooLarge()}
	}
	if n.Anchor != "" {
		r.open[n] = true
		defer delete(r.open, n)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return r.value(n.Content[0], depth)
	case yaml.AliasNode:
		if r.open[n.Alias] {
			return nil, rejectYAML(n, "anchor %q contains itself", n.Value)
		}
		return r.value(n.Alias, depth+1)
	case yaml.MappingNode:
		return r.mapping(n, depth)
	case yaml.SequenceNode:
		return r.sequence(n, depth)
	}
	return r.scalar(n)
}

func (r *yamlReader) sequence(n *yaml.Node, depth int) (any, error) {
	list := []any{}
	for _, c := range n.Content {
		v, err := r.value(c, depth+1)
		if err != nil {
			return nil, err
		}
		if r.keep {
			list = append(list, v)
		}
	}
	return list, nil
}

func (r *yamlReader) mapping(n *yaml.Node, depth int) (any, error) {
	object := map[string]any{}
	lines := map[string]int{}
	var merged []map[string]any
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			from, err := r.merge(value, depth)
			if err != nil {
				return nil, err
			}
			merged = append(merged, from...)
			continue
		}
		name, err := keyOf(key)
		if err != nil {
			return nil, err
		}
		if line, twice := lines[name]; twice {
			return nil, rejectYAML(key, "mapping key %q already defined at line %d", name, line)
		}
		lines[name] = key.Line
		if !r.used.add(depth, keyMemory+len(name)) {
			return nil, &Rejection{Line: key.Line, Reason: tooLarge()}
		}
		object[name], err = r.value(value, depth+1)
		if err != nil {
			return nil, err
		}
	}
	for _, from := range merged {
		for name, v := range from {
			if _, own := object[name]; !own {
				object[name] = v
			}
		}
	}
	return object, nil
}

// isMerge reports whether a key of a mapping is "<<", which merges other mappings.
func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.ShortTag() == "!!merge"
}

// merge returns the mappings that the value of a merge key names; those that come first have
// precedence.
func (r *yamlReader) merge(n *yaml.Node, depth int) ([]map[string]any, error) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	var from []map[string]any
	for _, node := range nodes {
		v, err := r.value(node, depth+1)
		if err != nil {
			return nil, err
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, rejectYAML(node, "map merge requires map or sequence of maps as the value")
		}
		from = append(from, m)
	}
	return from, nil
}

// keyOf returns the key of a mapping as text.
func keyOf(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return "", rejectYAML(n, "a key is a list or a mapping; keys must be text, numbers or booleans")
	}
	return n.Value, nil
}

// scalar returns the value of a scalar.
func (r *yamlReader) scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null", "!!bool", "!!int", "!!float", "!!binary":
	default:
		return n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, yamlRejection(err)
	}
	if f, ok := v.(float64); ok && r.keep {
		if math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, &Rejection{Line: n.Line, Reason: n.Value + " is not a number for a JSON Schema; write a number or text"}
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return v, nil
}

// lineInYAML returns the line of the value at a location: the line of its key, if it is in a
// mapping.
func lineInYAML(n *yaml.Node, location []string) int {
	line := max(n.Line, 1)
	for {
		for n.Kind == yaml.DocumentNode || n.Kind == yaml.AliasNode {
			if n.Kind == yaml.AliasNode {
				n = n.Alias
				continue
			}
			n = n.Content[0]
			line = n.Line
		}
		if len(location) == 0 {
			return line
		}
		next, at := childOf(n, location[0])
		if next == nil {
			return line
		}
		n = next
		line = at
		location = location[1:]
	}
}

// childOf returns the value of a mapping or a sequence with a name, and its line; nil if there
// is no such value.
func childOf(n *yaml.Node, name string) (child *yaml.Node, line int) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		i, err := strconv.Atoi(name)
		if err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
	}
	return nil, 0
}
