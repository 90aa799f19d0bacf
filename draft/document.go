package draft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"mime"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A document is a parsed document.
type document struct {
	// value is what a JSON decoder would return. It is nil if the document was only checked.
	value any
	// line returns the line of the value at a location, or of the nearest enclosing value
	// whose line is known; 0 if there is none. It reads the document again, so that a valid
	// document costs no index of its lines.
	line func(location []string) int
	// explaining is the memory that is needed to explain every value of the document being
	// invalid, in bytes.
	explaining int
	// values is the number of values and keys.
	values int
}

// parser parses the documents of a body. If keep is false, the parser checks the documents and
// does not return their values.
type parser struct {
	parse func(body []byte, keep bool) ([]document, error)
	// limit is the largest size of a body.
	limit int64
}

var (
	jsonParser = parser{parseJSON, MaxChecked}
	yamlParser = parser{parseYAML, MaxCheckedTree}
	tomlParser = parser{parseTOML, MaxCheckedTree}
)

// parserOf returns the parser of a content type, and the type without its parameters. ok is
// false if bodies of the type are opaque.
func parserOf(contentType string) (p parser, base string, ok bool, err error) {
	base, _, err = mime.ParseMediaType(contentType)
	if err != nil {
		return p, "", false, &Rejection{Reason: fmt.Sprintf("content type %q: %s", contentType, err)}
	}
	switch {
	case base == TypeJSON, base == "text/json", strings.HasSuffix(base, "+json"):
		return jsonParser, base, true, nil
	case base == TypeYAML, strings.HasSuffix(base, "/yaml"), strings.HasSuffix(base, "/x-yaml"),
		strings.HasSuffix(base, "+yaml"):
		return yamlParser, base, true, nil
	case base == TypeTOML:
		return tomlParser, base, true, nil
	}
	return p, base, false, nil
}

// account counts the values of a document against MaxMemory, and their depths.
type account struct {
	memory     int
	explaining int
	values     int
}

// add counts a value at a depth that needs memory bytes. It reports whether the document is
// within the limit.
func (a *account) add(depth, memory int) bool {
	a.memory += memory
	a.values++
	a.explaining += errorMemory + depth*stepMemory
	return a.memory <= MaxMemory
}

// tooLarge is the reason of a document that exceeds MaxMemory.
func tooLarge() string {
	return fmt.Sprintf("the document has too many values for a check, which would need more than %d MiB of memory; "+
		"publish it as %s", MaxMemory>>20, TypeAny)
}

// tooDeep is the reason of a document that exceeds MaxSchemaDepth.
func tooDeep() string { return fmt.Sprintf("nested more than %d deep", MaxSchemaDepth) }

// lineAt returns the line of an offset in a body.
func lineAt(body []byte, offset int) int {
	return 1 + bytes.Count(body[:min(max(offset, 0), len(body))], []byte{'\n'})
}

// The byte-order marks of UTF-8 and of UTF-16.
const (
	markUTF8         = "\xef\xbb\xbf"
	markLittleEndian = "\xff\xfe"
	markBigEndian    = "\xfe\xff"
)

// byteOrderMark returns the byte-order mark at the begin of a body; "" if there is none.
func byteOrderMark(body []byte) string {
	for _, mark := range []string{markUTF8, markLittleEndian, markBigEndian} {
		if bytes.HasPrefix(body, []byte(mark)) {
			return mark
		}
	}
	return ""
}

// withoutMark returns the text after the byte-order mark of a body, as UTF-8; the body if there is no
// mark.
func withoutMark(body []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	mark := byteOrderMark(body)
	text := body[len(mark):]
	switch mark {
	case "", markUTF8:
		return text
	case markBigEndian:
		order = binary.BigEndian
	}
	units := make([]uint16, 0, len(text)/2)
	for ; len(text) > 1; text = text[2:] {
		units = append(units, order.Uint16(text))
	}
	return []byte(string(utf16.Decode(units)))
}

// checkText refuses a byte-order mark and bytes that are not UTF-8, in a body of a format
// that must be UTF-8 without a mark.
func checkText(format string, body []byte) error {
	if mark := byteOrderMark(body); mark != "" {
		reason := fmt.Sprintf("not %s: the file begins with a byte-order mark (bytes % x); "+
			"save it as UTF-8 without a byte-order mark", format, mark)
		return &Rejection{Line: 1, Reason: reason}
	}
	if utf8.Valid(body) {
		return nil
	}
	offset := 0
	for offset < len(body) {
		r, size := utf8.DecodeRune(body[offset:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		offset += size
	}
	reason := fmt.Sprintf("not %s: byte %#x at offset %d is not UTF-8", format, body[offset], offset)
	return &Rejection{Line: lineAt(body, offset), Reason: reason}
}
