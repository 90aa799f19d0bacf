package draft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// lineIndex maps the JSON Pointer of a value to the first line of the value.
type lineIndex map[string]int

// find returns the line of a value. If the line is unknown, find returns the line of the
// nearest enclosing value, or 0.
func (x lineIndex) find(location []string) int {
	for n := len(location); n >= 0; n-- {
		if line, ok := x[pointerOf(location[:n])]; ok {
			return line
		}
	}
	return 0
}

// parser parses a document and finds the lines of the values.
type parser func(body []byte) (any, lineIndex, error)

var parsers = map[string]parser{
	TypeJSON:             parseJSON,
	TypeYAML:             parseYAML,
	"application/x-yaml": parseYAML,
	"text/yaml":          parseYAML,
	TypeTOML:             parseTOML,
}

// parseJSON walks the tokens of a document to find the line of every value. It refuses
// duplicate keys and trailing data, which json.Unmarshal and json.Decoder accept.
func parseJSON(body []byte) (any, lineIndex, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	w := &jsonWalker{body: body, decoder: d, lines: lineIndex{}}
	value, err := w.value(nil)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = w.reject("more data after the document")
		}
	}
	return value, w.lines, err
}

// jsonWalker reads a document token by token.
type jsonWalker struct {
	body    []byte
	decoder *json.Decoder
	lines   lineIndex
}

// line returns the line of an offset in the document.
func (w *jsonWalker) line(offset int64) int {
	return 1 + bytes.Count(w.body[:min(max(int(offset), 0), len(w.body))], []byte{'\n'})
}

func (w *jsonWalker) reject(format string, args ...any) error {
	return &Rejection{Line: w.line(w.decoder.InputOffset()), Reason: fmt.Sprintf(format, args...)}
}

func (w *jsonWalker) value(location []string) (any, error) {
	if len(location) > MaxSchemaDepth {
		return nil, w.reject("nested more than %d deep", MaxSchemaDepth)
	}
	token, err := w.decoder.Token()
	if err != nil {
		return nil, w.syntax(err)
	}
	w.lines[pointerOf(location)] = w.line(w.decoder.InputOffset())
	switch token {
	case json.Delim('{'):
		return w.object(location)
	case json.Delim('['):
		return w.array(location)
	}
	return token, nil
}

func (w *jsonWalker) object(location []string) (any, error) {
	object := map[string]any{}
	for w.decoder.More() {
		token, err := w.decoder.Token()
		if err != nil {
			return nil, w.syntax(err)
		}
		key, _ := token.(string)
		if _, twice := object[key]; twice {
			return nil, w.reject("key %q appears twice in one object", key)
		}
		if object[key], err = w.value(append(location[:len(location):len(location)], key)); err != nil {
			return nil, err
		}
	}
	_, err := w.decoder.Token()
	return object, w.syntax(err)
}

func (w *jsonWalker) array(location []string) (any, error) {
	array := []any{}
	for w.decoder.More() {
		v, err := w.value(append(location[:len(location):len(location)], strconv.Itoa(len(array))))
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := w.decoder.Token()
	return array, w.syntax(err)
}

// syntax returns a Rejection for an error of the decoder.
func (w *jsonWalker) syntax(err error) error {
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &Rejection{Line: w.line(syntax.Offset - 1), Reason: "not JSON: " + syntax.Error()}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Rejection{Line: w.line(int64(len(w.body))), Reason: "not JSON: the document ends too early"}
	}
	return w.reject("not JSON: %s", err)
}

var yamlLine = regexp.MustCompile(`line (\d+): ?`)

// parseYAML parses every document of a stream and returns the value of the first one.
func parseYAML(body []byte) (value any, lines lineIndex, err error) {
	d := yaml.NewDecoder(bytes.NewReader(body))
	lines = lineIndex{}
	for first := true; ; first = false {
		var node yaml.Node
		if err := d.Decode(&node); err == io.EOF {
			return value, lines, nil
		} else if err != nil {
			return nil, nil, yamlRejection(err)
		}
		var decoded any
		if err := node.Decode(&decoded); err != nil {
			return nil, nil, yamlRejection(err)
		}
		if first {
			indexYAML(&node, nil, lines, 0)
			if value, err = plain(decoded); err != nil {
				return nil, nil, err
			}
		}
	}
}

func yamlRejection(err error) error {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	reason = strings.TrimPrefix(reason, "unmarshal errors:\n  ")
	r := &Rejection{Reason: "not YAML: " + yamlLine.ReplaceAllString(reason, "")}
	if m := yamlLine.FindStringSubmatch(reason); m != nil {
		r.Line, _ = strconv.Atoi(m[1])
		// The library counts lines from 0 in errors of its parser, and from 1 in errors of its
		// scanner and decoder.
		if strings.Contains(reason, "did not find expected") {
			r.Line++
		}
	}
	return r
}

// indexYAML adds the lines of the values below n to lines.
func indexYAML(n *yaml.Node, location []string, lines lineIndex, depth int) {
	if depth > MaxSchemaDepth {
		return
	}
	here := location[:len(location):len(location)]
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			indexYAML(c, here, lines, depth+1)
		}
		return
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			indexYAML(n.Content[i+1], append(here, n.Content[i].Value), lines, depth+1)
			lines[pointerOf(append(here, n.Content[i].Value))] = n.Content[i].Line
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			indexYAML(c, append(here, strconv.Itoa(i)), lines, depth+1)
		}
	}
	lines[pointerOf(here)] = n.Line
}

func parseTOML(body []byte) (any, lineIndex, error) {
	var decoded any
	if err := toml.Unmarshal(body, &decoded); err != nil {
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			row, _ := syntax.Position()
			return nil, nil, &Rejection{Line: row, Reason: "not TOML: " + strings.TrimPrefix(syntax.Error(), "toml: ")}
		}
		return nil, nil, &Rejection{Reason: "not TOML: " + err.Error()}
	}
	value, err := plain(decoded)
	return value, indexTOML(body), err
}

var (
	tomlTable = regexp.MustCompile(`^\s*\[\s*([A-Za-z0-9_.\-"' ]+?)\s*\]`)
	tomlKey   = regexp.MustCompile(`^\s*([A-Za-z0-9_.\-"']+)\s*=`)
)

// indexTOML finds the lines of bare tables and keys, which the parser does not report. A value
// that indexTOML misses is reported at the line of its table.
func indexTOML(body []byte) lineIndex {
	lines := lineIndex{"": 1}
	var table []string
	for i, line := range strings.Split(string(body), "\n") {
		if m := tomlTable.FindStringSubmatch(line); m != nil {
			table = splitTOML(m[1])
			lines[pointerOf(table)] = i + 1
		} else if m := tomlKey.FindStringSubmatch(line); m != nil {
			lines[pointerOf(append(table[:len(table):len(table)], splitTOML(m[1])...))] = i + 1
		}
	}
	return lines
}

func splitTOML(key string) []string {
	parts := strings.Split(key, ".")
	for i := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(parts[i]), `"'`)
	}
	return parts
}

// plain converts a value of a YAML or TOML decoder into the value that a JSON decoder would
// return: keys are strings, numbers are json.Number, times are strings.
func plain(v any) (any, error) {
	encoded, err := json.Marshal(stringKeys(v))
	if err != nil {
		return nil, &Rejection{Reason: "a value has no type in JSON Schema: " + err.Error()}
	}
	value, _, err := parseJSON(encoded)
	return value, err
}

// stringKeys converts the keys of all maps in v to strings.
func stringKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[fmt.Sprint(k)] = stringKeys(e)
		}
		return m
	case map[string]any:
		for k, e := range v {
			v[k] = stringKeys(e)
		}
	case []any:
		for i, e := range v {
			v[i] = stringKeys(e)
		}
	}
	return v
}
