package draft

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// parseTOML parses a document. The depth is checked before the decoder of the library reads
// the document, because the decoder needs stack for each part of a dotted key.
func parseTOML(body []byte, keep bool) ([]document, error) {
	if err := checkText("TOML", body); err != nil {
		return nil, err
	}
	var used account
	var refused error
	walkTOML(body, func(path []string, n *unstable.Node) bool {
		memory := valueMemory
		if n.Kind == unstable.Key {
			memory = objectMemory
		}
		if !used.add(len(path), memory) {
			refused = &Rejection{Line: lineAt(body, int(n.Raw.Offset)), Reason: tooLarge()}
		}
		if len(path) > MaxSchemaDepth {
			refused = &Rejection{Line: lineAt(body, int(n.Raw.Offset)), Reason: tooDeep()}
		}
		return refused == nil
	})
	if refused != nil {
		return nil, refused
	}
	var decoded any
	if err := toml.Unmarshal(body, &decoded); err != nil {
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			row, _ := syntax.Position()
			return nil, &Rejection{Line: row, Reason: "not TOML: " + strings.TrimPrefix(syntax.Error(), "toml: ")}
		}
		return nil, &Rejection{Reason: "not TOML: " + err.Error()}
	}
	find := func(location []string) int { return lineInTOML(body, location) }
	d := document{line: find, explaining: used.explaining, values: used.values}
	if !keep {
		return []document{d}, nil
	}
	value, infinite := plain(decoded, nil)
	if infinite != nil {
		return nil, &Rejection{
			Line:   find(infinite),
			Path:   pointerOf(infinite),
			Reason: "inf and nan are not numbers for a JSON Schema; write a number or text",
		}
	}
	d.value = value
	return []document{d}, nil
}

// plain converts a value of the TOML decoder into the value that a JSON decoder would return:
// times are strings. If a number is infinite or not a number, plain returns its location.
func plain(v any, location []string) (value any, infinite []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k], infinite = plain(e, append(location, k))
			if infinite != nil {
				return nil, infinite
			}
		}
	case []any:
		for i, e := range v {
			v[i], infinite = plain(e, append(location, strconv.Itoa(i)))
			if infinite != nil {
				return nil, infinite
			}
		}
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, append([]string{}, location...)
		}
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64)), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case fmt.Stringer: // a local date, a local time, or both
		return v.String(), nil
	}
	return v, nil
}

// walkTOML calls visit for the parts of keys and for the values of a document, in order, until
// visit returns false or the document is not well-formed. The path includes the key or the
// index of the node.
func walkTOML(body []byte, visit func(path []string, n *unstable.Node) bool) {
	w := tomlWalker{visit: visit, path: make([]string, 0, 2*MaxSchemaDepth), last: map[string]int{}}
	var p unstable.Parser
	p.Reset(body)
	var table []string
	for p.NextExpression() {
		n := p.Expression()
		var ok bool
		switch n.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, ok = w.table(n)
		case unstable.KeyValue:
			ok = w.pair(n, table)
		default:
			ok = true
		}
		if !ok {
			return
		}
	}
}

type tomlWalker struct {
	visit func(path []string, n *unstable.Node) bool
	// path has the space of all paths: a path that is longer than another one begins with it.
	path []string
	// last is the last index of each list of tables, by the JSON Pointer of the list.
	last map[string]int
}

// key visits the parts of a key below a table. It returns the path of the last part.
func (w *tomlWalker) key(n *unstable.Node, path []string) ([]string, bool) {
	for it := n.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		if !w.visit(path, it.Node()) {
			return nil, false
		}
	}
	return path, true
}

// table visits the header of a table. It returns the path of the table, in which the name of a
// list of tables is followed by the index of its last table.
func (w *tomlWalker) table(n *unstable.Node) ([]string, bool) {
	path := w.path[:0]
	for it := n.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		if !w.visit(path, it.Node()) {
			return nil, false
		}
		begins := it.IsLast() && n.Kind == unstable.ArrayTable
		if len(w.last) == 0 && !begins {
			continue
		}
		pointer := pointerOf(path)
		index, list := w.last[pointer]
		if begins {
			if list {
				index++
			}
			w.last[pointer] = index
			list = true
		}
		if list {
			path = append(path, strconv.Itoa(index))
			if !w.visit(path, it.Node()) {
				return nil, false
			}
		}
	}
	return path, true
}

// pair visits the key and the value of a pair.
func (w *tomlWalker) pair(n *unstable.Node, table []string) bool {
	path, ok := w.key(n, table)
	return ok && w.value(n.Value(), path)
}

// value visits the values inside a value, and the value if it is neither a list nor a table.
func (w *tomlWalker) value(n *unstable.Node, path []string) bool {
	switch n.Kind {
	case unstable.Array:
		i := 0
		for it := n.Children(); it.Next(); {
			item := it.Node()
			if item.Kind == unstable.Comment {
				continue
			}
			if !w.value(item, append(path, strconv.Itoa(i))) {
				return false
			}
			i++
		}
		return true
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue && !w.pair(it.Node(), path) {
				return false
			}
		}
		return true
	}
	return w.visit(path, n)
}

// lineInTOML returns the line of the value at a location: of the first key that shares the
// longest part of the location.
func lineInTOML(body []byte, location []string) int {
	best, offset := 0, 0
	walkTOML(body, func(path []string, n *unstable.Node) bool {
		shared := 0
		for shared < min(len(path), len(location)) && path[shared] == location[shared] {
			shared++
		}
		if shared > best && n.Raw.Length > 0 {
			best, offset = shared, int(n.Raw.Offset)
		}
		return !slices.Equal(path, location) || n.Raw.Length == 0
	})
	return lineAt(body, offset)
}
