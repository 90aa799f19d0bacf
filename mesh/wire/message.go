package wire

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"banyan/record"
)

// Message is a message between nodes: any type of the package with the methods below. A message
// is encoded as one byte, the tag of its type, and a CBOR map.
//
// A new message needs three things: a type with the methods of this interface, an entry in
// the table of decoders, and a case in the dispatch of mesh.Node (mesh/node.go). Older builds must
// be able to skip the message, or a new version of the protocol has it: docs/protocol.md.
type Message interface {
	// tag returns the first byte of the encoding.
	tag() byte
	// validate reports which limit the message exceeds, wrapping ErrMalformed.
	validate() error
}

// A translated message has fields that can't be encoded as they are. Its encoding is
// that of the value returned by wireForm.
type translated interface {
	wireForm() (any, error)
}

// decoders has an entry for each type of message, at the index of the tag.
var decoders = [...]func(data []byte) (Message, error){
	1:  decode[Join],
	2:  decode[Placement],
	3:  decode[Attach],
	4:  decode[Attached],
	5:  decode[Rejected],
	6:  decodeAnnouncement,
	7:  decode[SignedHead],
	8:  decode[CatchUp],
	9:  decode[Gone],
	10: decodeAck,
	11: decode[Census],
	12: decode[Push],
	13: decode[Adopted],
	14: decode[RollCall],
	15: decode[Shadow],
	16: decode[Notice],
	17: decode[Accusation],
	18: decode[Brood],
	19: decode[Circle],
	20: decode[Circles],
	21: decodeWant,
	22: decode[Stored],
	23: decode[Drift],
	24: decodeDecline,
	25: decode[Survey],
	26: decode[Holdings],
	27: decode[Page],
	28: decode[Families],
	29: decode[Displaced],
	30: decode[Batch],
}

// firstOptional is the first tag of the messages that a node may skip if it does not know them. A
// node must know every message with a tag below: such a message is sent only over links of a
// version of the protocol that has it.
const firstOptional = 128

var (
	// ErrMalformed is wrapped by every error about bytes that are not a valid message.
	ErrMalformed = errors.New("malformed message")
	// ErrUnknown is wrapped by every error about a message that this build does not know and may skip.
	ErrUnknown = errors.New("unknown message")
)

var (
	encoder = must(cbor.CoreDetEncOptions().EncMode())
	decoder = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  8,
		MaxArrayElements: MaxChildren * 64,
		MaxMapPairs:      MaxCensusLabels,
	}.DecMode())
)

// AppendMessage appends the encoding of m to b. It returns an error that wraps
// record.ErrTooLarge if the encoding exceeds MaxMessage.
func AppendMessage(b []byte, m Message) ([]byte, error) {
	var body any = m
	if t, ok := m.(translated); ok {
		var err error
		body, err = t.wireForm()
		if err != nil {
			return b, err
		}
	}
	encoded, err := encoder.Marshal(body)
	if err != nil {
		return b, fmt.Errorf("encode %T: %w", m, err)
	}
	if 1+len(encoded) > MaxMessage {
		return b, fmt.Errorf("encode %T: %w: %d bytes", m, record.ErrTooLarge, 1+len(encoded))
	}
	b = append(b, m.tag())
	return append(b, encoded...), nil
}

// DecodeMessage decodes what AppendMessage encoded, and checks the limits of the
// message. The message does not alias b. Keys that this build does not know are skipped. Every error
// wraps ErrMalformed, or ErrUnknown if the message may be skipped.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	tag := int(b[0])
	if tag >= firstOptional {
		return nil, fmt.Errorf("%w: tag %d", ErrUnknown, tag)
	}
	if tag >= len(decoders) || decoders[tag] == nil {
		return nil, fmt.Errorf("%w: unknown tag %d", ErrMalformed, tag)
	}
	return decoders[tag](b[1:])
}

// messagePointer is satisfied by *T if *T is a message.
type messagePointer[T any] interface {
	*T
	Message
}

// decode decodes a message whose fields are encoded as they are.
func decode[T any, M messagePointer[T]](data []byte) (Message, error) {
	v, err := unmarshal[T](data)
	if err != nil {
		return nil, err
	}
	return validated(M(v))
}

// unmarshal decodes one CBOR map.
func unmarshal[T any](data []byte) (*T, error) {
	v := new(T)
	if err := decoder.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("%w: %T: %s", ErrMalformed, *v, err)
	}
	return v, nil
}

// validated returns m if m is within its limits.
func validated(m Message) (Message, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// checkLength reports an error if a field of what has more bytes, or elements, than limit.
func checkLength(what string, length, limit int) error {
	if length > limit {
		return fmt.Errorf("%w: %s: %d, the limit is %d", ErrMalformed, what, length, limit)
	}
	return nil
}

// checkNames reports an error if one of names is longer than limit bytes.
func checkNames(what string, limit int, names ...string) error {
	for _, name := range names {
		if err := checkLength(what, len(name), limit); err != nil {
			return err
		}
	}
	return nil
}
