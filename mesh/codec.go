package mesh

import (
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
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

// wireAnnouncement and wireAck are the encoded forms of messages whose struct
// holds what does not travel as it is.
type wireAnnouncement struct {
	Revision uint64 `cbor:"1,keyasint"`
	Raw      []byte `cbor:"2,keyasint"`
	Pushed   bool   `cbor:"3,keyasint,omitempty"`
}

type wireWant struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
	Form    uint8  `cbor:"3,keyasint"`
	Shards  []byte `cbor:"4,keyasint"` // a bit each, the lowest of the first byte first
	Cancel  []byte `cbor:"5,keyasint"` // likewise
}

type wireAck struct {
	Entries []wireAckEntry `cbor:"1,keyasint"`
}

type wireAckEntry struct {
	Config   string    `cbor:"1,keyasint"`
	Region   string    `cbor:"2,keyasint"`
	Epoch    uint64    `cbor:"3,keyasint"`
	Applied  []byte    `cbor:"4,keyasint,omitempty"` // roaring bitmap, portable format
	Latency  []byte    `cbor:"5,keyasint,omitempty"`
	Failed   []byte    `cbor:"6,keyasint,omitempty"`
	Failures []Failure `cbor:"7,keyasint,omitempty"`
	Running  []byte    `cbor:"8,keyasint,omitempty"`
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

func (m *Attach) validate() error {
	return (&Member{Addr: m.Addr, Labels: m.Labels}).validate()
}

func (m *Attached) validate() error {
	if len(m.Path) > MaxPath {
		return fmt.Errorf("%w: a path of %d hops", ErrMalformed, len(m.Path))
	}
	return nil
}

func (m *Rejected) validate() error {
	if len(m.Reason) > MaxReason {
		return fmt.Errorf("%w: rejection: reason too long", ErrMalformed)
	}
	return nil
}

func (m *SignedHead) validate() error {
	if len(m.Raw) > record.MaxHead {
		return fmt.Errorf("%w: head of %d bytes", ErrMalformed, len(m.Raw))
	}
	return nil
}

func (m *Gone) validate() error {
	if len(m.Agents) > MaxChildren {
		return fmt.Errorf("%w: %d agents gone", ErrMalformed, len(m.Agents))
	}
	return nil
}

func (m *Push) validate() error {
	if len(m.Config) > record.MaxConfigName || len(m.Manifest) > record.MaxManifest || len(m.Body) > MaxPush {
		return fmt.Errorf("%w: push: a field is too long", ErrMalformed)
	}
	return nil
}

func (m *Accusation) validate() error {
	if len(m.Name) > MaxAddress {
		return fmt.Errorf("%w: accusation: name too long", ErrMalformed)
	}
	return nil
}

func (m *Drift) validate() error {
	if len(m.Name) > MaxAddress || len(m.Config) > record.MaxConfigName || len(m.Region) > record.MaxRegionName {
		return fmt.Errorf("%w: drift: a field is too long", ErrMalformed)
	}
	return nil
}

func (m *Census) validate() error {
	if len(m.Labels) > MaxCensusLabels || len(m.Waves) > MaxWaves || len(m.Quarantined) > MaxQuarantined {
		return fmt.Errorf("%w: census: too many entries", ErrMalformed)
	}
	for label := range m.Labels {
		if len(label) > 2*MaxLabelBytes+1 {
			return fmt.Errorf("%w: census: label too long", ErrMalformed)
		}
	}
	for _, w := range m.Waves {
		if len(w.Config) > record.MaxConfigName {
			return fmt.Errorf("%w: census: name too long", ErrMalformed)
		}
	}
	for _, q := range m.Quarantined {
		if len(q.Config) > record.MaxConfigName || len(q.Name) > MaxAddress || len(q.Reason) > MaxReason {
			return fmt.Errorf("%w: census: a field is too long", ErrMalformed)
		}
	}
	return nil
}

func (m *Placement) validate() error {
	if len(m.Backups) > MaxBackups {
		return fmt.Errorf("%w: placement: %d backups", ErrMalformed, len(m.Backups))
	}
	if len(m.Gossip) > MaxBackups {
		return fmt.Errorf("%w: placement: %d gossip addresses", ErrMalformed, len(m.Gossip))
	}
	for _, a := range m.Gossip {
		if len(a) > MaxAddress {
			return fmt.Errorf("%w: placement: address too long", ErrMalformed)
		}
	}
	for _, l := range append(m.Backups, m.Parent) {
		if len(l.Addr) > MaxAddress || len(l.Name) > MaxAddress {
			return fmt.Errorf("%w: placement: address too long", ErrMalformed)
		}
	}
	return nil
}

func (m *Member) validate() error {
	if len(m.Name) > MaxAddress {
		return fmt.Errorf("%w: member: name too long", ErrMalformed)
	}
	return (&Join{Addr: m.Addr, Labels: m.Labels}).validate()
}

func (m *Adopted) validate() error {
	if len(m.Members) > MaxMembers {
		return fmt.Errorf("%w: %d agents adopted", ErrMalformed, len(m.Members))
	}
	for i := range m.Members {
		if err := m.Members[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Join) validate() error {
	if len(m.Addr) > MaxAddress || len(m.Avoid) > MaxAvoid || len(m.Accuse) > MaxAddress || len(m.Labels) > MaxLabels {
		return fmt.Errorf("%w: join: address, name or labels too long", ErrMalformed)
	}
	for _, name := range m.Avoid {
		if len(name) > MaxAddress {
			return fmt.Errorf("%w: join: name too long", ErrMalformed)
		}
	}
	for k, v := range m.Labels {
		if len(k) > MaxLabelBytes || len(v) > MaxLabelBytes {
			return fmt.Errorf("%w: join: label too long", ErrMalformed)
		}
	}
	return nil
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

func encodeAck(m *Ack) (wireAck, error) {
	w := wireAck{Entries: make([]wireAckEntry, len(m.Entries))}
	for i := range m.Entries {
		e := &m.Entries[i]
		out := wireAckEntry{Config: e.Config, Region: e.Region, Epoch: e.Epoch, Failures: e.Failures}
		var err error
		if out.Applied, err = encodeBitmap(e.Applied); err != nil {
			return w, err
		}
		if out.Failed, err = encodeBitmap(e.Failed); err != nil {
			return w, err
		}
		if out.Running, err = encodeBitmap(e.Running); err != nil {
			return w, err
		}
		if e.Latency.Count() > 0 {
			out.Latency = e.Latency.append(nil)
		}
		w.Entries[i] = out
	}
	return w, nil
}

func encodeBitmap(b *roaring.Bitmap) ([]byte, error) {
	if b.IsEmpty() {
		return nil, nil
	}
	b.RunOptimize()
	return b.ToBytes()
}

func decodeAck(b []byte) (Message, error) {
	w, err := decodeAs[wireAck](b)
	if err != nil {
		return nil, err
	}
	if len(w.Entries) > MaxAckEntries {
		return nil, fmt.Errorf("%w: %d acknowledgements, the limit is %d", ErrMalformed, len(w.Entries), MaxAckEntries)
	}
	m := &Ack{Entries: make([]AckEntry, len(w.Entries))}
	for i, e := range w.Entries {
		if m.Entries[i], err = e.decode(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (e wireAckEntry) decode() (AckEntry, error) {
	out := AckEntry{Config: e.Config, Region: e.Region, Epoch: e.Epoch, Failures: e.Failures}
	if len(e.Config) > record.MaxConfigName || len(e.Region) > record.MaxRegionName || len(e.Failures) > MaxFailures {
		return out, fmt.Errorf("%w: acknowledgement: a field is too long", ErrMalformed)
	}
	for _, f := range e.Failures {
		if len(f.Name) > MaxAddress || len(f.Reason) > MaxReason {
			return out, fmt.Errorf("%w: acknowledgement: a failure is too long", ErrMalformed)
		}
	}
	var err error
	if out.Applied, err = decodeBitmap(e.Applied); err != nil {
		return out, err
	}
	if out.Failed, err = decodeBitmap(e.Failed); err != nil {
		return out, err
	}
	if out.Running, err = decodeBitmap(e.Running); err != nil {
		return out, err
	}
	if len(e.Latency) > 0 {
		out.Latency, err = decodeLatencies(e.Latency)
	}
	return out, err
}

func decodeBitmap(b []byte) (*roaring.Bitmap, error) {
	bitmap := roaring.New()
	if len(b) == 0 {
		return bitmap, nil
	}
	if err := bitmap.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("%w: agent bitmap: %s", ErrMalformed, err)
	}
	if err := bitmap.Validate(); err != nil {
		return nil, fmt.Errorf("%w: agent bitmap: %s", ErrMalformed, err)
	}
	return bitmap, nil
}
