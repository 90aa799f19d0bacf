package draft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parseJSON reads the document token by token. It refuses duplicate keys and trailing data,
// which json.Unmarshal and json.Decoder accept.
func parseJSON(body []byte, keep bool) ([]document, error) {
	if err := checkText("JSON", body); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	w := &jsonWalker{body: body, decoder: d, keep: keep}
	value, err := w.value(0)
	if err != nil {
		return nil, err
	}
	if _, more := d.Token(); more != io.EOF {
		return nil, w.reject("more data after the document")
	}
	find := func(location []string) int { return lineInJSON(body, location) }
	return []document{{value: value, line: find, explaining: w.used.explaining, values: w.used.values}}, nil
}

// jsonWalker reads a document token by token.
type jsonWalker struct {
	body    []byte
	decoder *json.Decoder
	keep    bool
	used    account
}

func (w *jsonWalker) reject(format string, args ...any) error {
	return &Rejection{Line: lineAt(w.body, int(w.decoder.InputOffset())), Reason: fmt.Sprintf(format, args...)}
}

// value reads the value at a depth. It returns nil if the walker does not keep values.
func (w *jsonWalker) value(depth int) (any, error) {
	if depth > MaxSchemaDepth {
		return nil, w.reject("%s", tooDeep())
	}
	token, err := w.decoder.Token()
	if err != nil {
		return nil, w.syntax(err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return w.object(depth)
		}
		return w.array(depth)
	case json.Number:
		if w.keep && !exact(t.String()) {
			return nil, w.reject("the number %.40s… is too long, or its exponent too large, for a check by a schema", t)
		}
		return w.leaf(t, depth, len(t))
	case string:
		return w.leaf(t, depth, len(t))
	}
	return w.leaf(token, depth, 0)
}

// leaf counts and returns a value that is neither an object nor a list.
func (w *jsonWalker) leaf(v any, depth, size int) (any, error) {
	if !w.keep {
		return nil, nil
	}
	if !w.used.add(depth, valueMemory+size) {
		return nil, w.reject("%s", tooLarge())
	}
	return v, nil
}

func (w *jsonWalker) object(depth int) (any, error) {
	before := w.used.memory
	object := map[string]any{}
	if !w.used.add(depth, objectMemory) {
		return nil, w.reject("%s", tooLarge())
	}
	for w.decoder.More() {
		token, err := w.decoder.Token()
		if err != nil {
			return nil, w.syntax(err)
		}
		key, _ := token.(string)
		if _, twice := object[key]; twice {
			return nil, w.reject("key %q appears twice in one object", key)
		}
		if !w.used.add(depth, keyMemory+len(key)) {
			return nil, w.reject("%s", tooLarge())
		}
		value, err := w.value(depth + 1)
		if err != nil {
			return nil, err
		}
		object[key] = value
	}
	if _, err := w.decoder.Token(); err != nil {
		return nil, w.syntax(err)
	}
	if !w.keep {
		w.used.memory = before
		return nil, nil
	}
	return object, nil
}

func (w *jsonWalker) array(depth int) (any, error) {
	array := []any{}
	if w.keep && !w.used.add(depth, valueMemory) {
		return nil, w.reject("%s", tooLarge())
	}
	for w.decoder.More() {
		v, err := w.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if w.keep {
			array = append(array, v)
		}
	}
	if _, err := w.decoder.Token(); err != nil {
		return nil, w.syntax(err)
	}
	return array, nil
}

// syntax returns a Rejection for an error of the decoder.
func (w *jsonWalker) syntax(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &Rejection{Line: lineAt(w.body, int(syntax.Offset)-1), Reason: "not JSON: " + syntax.Error()}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Rejection{Line: lineAt(w.body, len(w.body)), Reason: "not JSON: the document ends too early"}
	}
	return w.reject("not JSON: %s", err)
}

// exact reports whether a number of JSON can be made into a fraction at small cost.
func exact(number string) bool {
	if len(number) > maxNumber {
		return false
	}
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[at+1:])
	return err == nil && exponent <= maxNumber && exponent >= -maxNumber
}

// lineInJSON returns the line of the value at a location of a well-formed document. It reads
// the document up to the value.
func lineInJSON(body []byte, location []string) int {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	line := 0
	for n := 0; ; n++ {
		token, err := d.Token()
		if err != nil {
			return line
		}
		line = lineAt(body, int(d.InputOffset()))
		if n == len(location) || !enter(d, token, location[n]) {
			return line
		}
	}
}

// enter moves a decoder that has read the begin of an object or a list to the member with a
// name. It reports whether there is such a member.
func enter(d *json.Decoder, begin json.Token, name string) bool {
	object := begin == json.Delim('{')
	if !object && begin != json.Delim('[') {
		return false
	}
	for i := 0; d.More(); i++ {
		member := strconv.Itoa(i)
		if object {
			token, err := d.Token()
			if err != nil {
				return false
			}
			member, _ = token.(string)
		}
		if member == name {
			return true
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return false
		}
	}
	return false
}
