package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// print writes v as JSON, or calls text with a table writer.
func (a *app) print(v any, text func(w io.Writer)) error {
	if a.output == "json" {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return err
		}
		_, err := a.stdout.Write(escapeJSON(b.Bytes()))
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	text(escaping{w})
	return w.Flush()
}

// heading prints the columns of a table with n rows; for an empty table, what there is none of.
func heading(w io.Writer, n int, columns, none string) {
	if n == 0 {
		columns = none
	}
	fmt.Fprintln(w, columns)
}

// escaping replaces the characters that steer a terminal, in all that is written to it. Names,
// reasons and outputs of hooks come from hosts, and a host may be in wrong hands. Each Write
// must have whole characters.
type escaping struct{ w io.Writer }

func (e escaping) Write(b []byte) (int, error) {
	if _, err := io.WriteString(e.w, visible(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// steers reports whether a character steers a terminal or the direction of text. Tabs and ends
// of lines do not count.
func steers(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
		return true // directions of text
	case r == 0x2028, r == 0x2029:
		return true // ends of lines, for some terminals
	}
	return unicode.IsControl(r)
}

// visible replaces characters that steer a terminal, and bytes that are not UTF-8, by their
// escapes: an ESC becomes \x1b.
func visible(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, steers) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1, steers(r) && r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case steers(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// oneLine is like visible, for a cell of a table: it also replaces tabs and ends of lines, by
// spaces.
func oneLine(s string) string {
	return spaces.Replace(visible(s))
}

var spaces = strings.NewReplacer("\n", " ", "\t", " ")

// escapeJSON replaces the characters that steer a terminal in a JSON document by the escapes
// of JSON. Such characters can only be inside strings.
func escapeJSON(document []byte) []byte {
	if !bytes.ContainsFunc(document, steers) {
		return document
	}
	var b bytes.Buffer
	for _, r := range string(document) {
		if steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.Bytes()
}
