package mesh

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"banyan/record"
)

// ErrMalformed is wrapped when bytes are not a message.
var ErrMalformed = errors.New("malformed message")

// The first byte of an encoded message.
const (
	tagJoin      = 1
	tagPlacement = 2
	tagAttach    = 3
	tagAttached  = 4
	tagRejected  = 5
	tagAnnounce  = 6
	tagHead      = 7
	tagCatchUp   = 8
	tagGone      = 9
	tagAck       = 10
	tagCensus    = 11
	tagPush      = 12
	tagAdopted   = 13
	tagRollCall  = 14
	tagShadow    = 15
	tagNotice    = 16
	tagAccuse    = 17
	tagBrood     = 18
	tagCircle    = 19
	tagCircles   = 20
	tagWant      = 21
	tagStored    = 22
	tagDrift     = 23
	tagDecline   = 24
	tagSurvey    = 25
	tagHoldings  = 26
)

var (
	wireEncoder = must(cbor.CoreDetEncOptions().EncMode())
	wireDecoder = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  8,
		MaxArrayElements: MaxChildren * 64,
		MaxMapPairs:      MaxCensusLabels,
	}.DecMode())
)

// wireAnnouncement and the like are the encoded forms of messages whose struct holds what
// does not travel as it is.
type wireAnnouncement struct {
	Revision uint64 `cbor:"1,keyasint"`
	Raw      []byte `cbor:"2,keyasint"`
	Pushed   bool   `cbor:"3,keyasint,omitempty"`
}

type wireWant struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
	Form    uint8  `cbor:"3,keyasint"`
	Shards  []byte `cbor:"4,keyasint"`           // a bit each, the lowest of the first byte first
	Cancel  []byte `cbor:"5,keyasint,omitempty"` // likewise
}

// AppendMessage appends the encoding of m: a tag byte and a CBOR map.
func AppendMessage(b []byte, m Message) ([]byte, error) {
	tag, body := byte(0), any(m)
	switch m := m.(type) {
	case *Join:
		tag = tagJoin
	case *Placement:
		tag = tagPlacement
	case *Attach:
		tag = tagAttach
	case *Attached:
		tag = tagAttached
	case *Rejected:
		tag = tagRejected
	case *Announcement:
		tag, body = tagAnnounce, wireAnnouncement{m.Revision, m.Raw, m.Pushed}
	case *SignedHead:
		tag = tagHead
	case *CatchUp:
		tag = tagCatchUp
	case *Gone:
		tag = tagGone
	case *Census:
		tag = tagCensus
	case *Push:
		tag = tagPush
	case *Adopted:
		tag = tagAdopted
	case *RollCall:
		tag = tagRollCall
	case *Shadow:
		tag = tagShadow
	case *Notice:
		tag = tagNotice
	case *Accusation:
		tag = tagAccuse
	case *Brood:
		tag = tagBrood
	case *Circle:
		tag = tagCircle
	case *Circles:
		tag = tagCircles
	case *Stored:
		tag = tagStored
	case *Drift:
		tag = tagDrift
	case *Want:
		tag, body = tagWant, wireWant{m.Key.Config, m.Key.Version, m.Key.Form, encodeBits(m.Shards), encodeBits(m.Cancel)}
	case *Survey:
		tag = tagSurvey
	case *Holdings:
		tag = tagHoldings
	case *Decline:
		tag, body = tagDecline, wireWant{m.Key.Config, m.Key.Version, m.Key.Form, encodeBits(m.Shards), nil}
	case *Ack:
		w, err := encodeAck(m)
		if err != nil {
			return b, err
		}
		tag, body = tagAck, w
	default:
		return b, fmt.Errorf("unknown message %T", m)
	}
	encoded, err := wireEncoder.Marshal(body)
	if err != nil {
		return b, fmt.Errorf("encode %T: %w", m, err)
	}
	if 1+len(encoded) > MaxMessage {
		return b, fmt.Errorf("encode %T: %w: %d bytes", m, record.ErrTooLarge, 1+len(encoded))
	}
	return append(append(b, tag), encoded...), nil
}

// DecodeMessage reads what AppendMessage wrote. The message does not alias b.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	switch b[0] {
	case tagJoin:
		return decodeChecked[Join](b)
	case tagPlacement:
		return decodeChecked[Placement](b)
	case tagAttach:
		return decodeChecked[Attach](b)
	case tagAttached:
		return decodeChecked[Attached](b)
	case tagRejected:
		return decodeChecked[Rejected](b)
	case tagAnnounce:
		return decodeAnnouncement(b)
	case tagHead:
		return decodeChecked[SignedHead](b)
	case tagCatchUp:
		return orNil(decodeAs[CatchUp](b))
	case tagGone:
		return decodeChecked[Gone](b)
	case tagCensus:
		return decodeChecked[Census](b)
	case tagPush:
		return decodeChecked[Push](b)
	case tagAdopted:
		return decodeChecked[Adopted](b)
	case tagRollCall:
		return orNil(decodeAs[RollCall](b))
	case tagShadow:
		return orNil(decodeAs[Shadow](b))
	case tagNotice:
		return orNil(decodeAs[Notice](b))
	case tagAccuse:
		return decodeChecked[Accusation](b)
	case tagBrood:
		return decodeChecked[Brood](b)
	case tagCircle:
		return decodeChecked[Circle](b)
	case tagCircles:
		return decodeChecked[Circles](b)
	case tagStored:
		return decodeChecked[Stored](b)
	case tagDrift:
		return decodeChecked[Drift](b)
	case tagWant:
		return decodeWant(b)
	case tagSurvey:
		return decodeChecked[Survey](b)
	case tagHoldings:
		return decodeChecked[Holdings](b)
	case tagDecline:
		return decodeDecline(b)
	case tagAck:
		return decodeAck(b)
	}
	return nil, fmt.Errorf("%w: unknown tag %d", ErrMalformed, b[0])
}

// checked is a message with limits of its own.
type checked[T any] interface {
	*T
	Message
	validate() error
}

// decodeChecked decodes a message and holds it to its limits.
func decodeChecked[T any, M checked[T]](b []byte) (Message, error) {
	v, err := decodeAs[T](b)
	if err == nil {
		err = M(v).validate()
	}
	return orNil(M(v), err)
}

// orNil keeps a nil pointer from becoming a non-nil Message.
func orNil[M Message](m M, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

func decodeAs[T any](b []byte) (*T, error) {
	v := new(T)
	if err := wireDecoder.Unmarshal(b[1:], v); err != nil {
		return nil, fmt.Errorf("%w: %T: %s", ErrMalformed, *v, err)
	}
	return v, nil
}

func decodeAnnouncement(b []byte) (Message, error) {
	if len(b) > record.MaxAnnouncement {
		return nil, fmt.Errorf("%w: announcement of %d bytes, the limit is %d", ErrMalformed, len(b), record.MaxAnnouncement)
	}
	w, err := decodeAs[wireAnnouncement](b)
	if err != nil {
		return nil, err
	}
	return &Announcement{Revision: w.Revision, Raw: w.Raw, Pushed: w.Pushed}, nil
}
