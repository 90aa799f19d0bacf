package mesh

import (
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/record"
)

// wireAck is how acknowledgements travel: bitmaps and sketches as bytes.
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
