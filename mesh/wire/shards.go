package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/bits-and-blooms/bitset"

	"banyan/record"
)

// FormChoice selects the forms that answer a request: any form, or a single form.
type FormChoice uint8

// AnyForm leaves the choice of the form to the peer that answers.
const AnyForm FormChoice = 0

// OnlyForm selects a form by the position in the manifest.
func OnlyForm(form uint8) FormChoice { return FormChoice(form) + 1 }

// Form returns the selected form. only is false for AnyForm.
func (c FormChoice) Form() (form uint8, only bool) { return uint8(c) - 1, c != AnyForm }

// Allows reports whether form is among the selected forms.
func (c FormChoice) Allows(form uint8) bool { return c == AnyForm || c == OnlyForm(form) }

// Want asks for shards of a form. Shards are added to those that the sender asked for
// before; Cancel are removed from them. The receiver sends each shard once the receiver
// has that shard itself.
type Want struct {
	Key    record.FormKey
	Shards *bitset.BitSet
	Cancel *bitset.BitSet
}

func (*Want) tag() byte { return 21 }

func (m *Want) wireForm() (any, error) { return newWireShards(m.Key, m.Shards, m.Cancel), nil }

func (*Want) validate() error { return nil } // decodeShards checks the encoded form

// Decline answers a Want: the receiver of the Want will not send these shards, because
// there is no room to store them.
type Decline struct {
	Key    record.FormKey
	Shards *bitset.BitSet
}

func (*Decline) tag() byte { return 24 }

func (m *Decline) wireForm() (any, error) { return newWireShards(m.Key, m.Shards, nil), nil }

func (*Decline) validate() error { return nil } // decodeShards checks the encoded form

// wireShards is the encoded form of a Want and of a Decline. A set of shards is encoded
// with a bit for each shard, the lowest bit of the first byte first, without the zero
// bytes at the end. Example: shards 0 and 9 are the bytes 01 02.
type wireShards struct {
	Config  string        `cbor:"1,keyasint"`
	Version uint64        `cbor:"2,keyasint"`
	Form    uint8         `cbor:"3,keyasint"`
	Shards  []byte        `cbor:"4,keyasint"`
	Cancel  []byte        `cbor:"5,keyasint,omitempty"`
	Digest  record.Digest `cbor:"6,keyasint"` // of the manifest
}

func newWireShards(key record.FormKey, shards, cancel *bitset.BitSet) wireShards {
	w := wireShards{
		Config:  key.Config,
		Version: key.Version,
		Form:    key.Form,
		Shards:  encodeBits(shards),
		Digest:  key.Digest,
	}
	if cancel != nil {
		w.Cancel = encodeBits(cancel)
	}
	return w
}

func (w *wireShards) key() record.FormKey {
	v := record.VersionKey{Config: w.Config, Version: w.Version, Digest: w.Digest}
	return record.FormKey{VersionKey: v, Form: w.Form}
}

func decodeWant(data []byte) (Message, error) {
	w, err := decodeShards(data)
	if err != nil {
		return nil, err
	}
	return &Want{Key: w.key(), Shards: decodeBits(w.Shards), Cancel: decodeBits(w.Cancel)}, nil
}

func decodeDecline(data []byte) (Message, error) {
	w, err := decodeShards(data)
	if err != nil {
		return nil, err
	}
	return &Decline{Key: w.key(), Shards: decodeBits(w.Shards)}, nil
}

func decodeShards(data []byte) (*wireShards, error) {
	w, err := unmarshal[wireShards](data)
	if err != nil {
		return nil, err
	}
	if err := checkLength("shards: config name", len(w.Config), record.MaxConfigName); err != nil {
		return nil, err
	}
	longest := max(len(w.Shards), len(w.Cancel))
	if err := checkLength("shards: bytes of a set", longest, record.MaxIndex/8); err != nil {
		return nil, err
	}
	if w.Form >= record.MaxForms {
		return nil, fmt.Errorf("%w: shards: form %d, a version has at most %d forms",
			ErrMalformed, w.Form, record.MaxForms)
	}
	return w, nil
}

func encodeBits(set *bitset.BitSet) []byte {
	var b []byte
	for _, w := range set.Words() {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

func decodeBits(b []byte) *bitset.BitSet {
	bits := uint(len(b)) * 8
	words := make([]uint64, (len(b)+7)/8)
	for i, v := range b {
		words[i/8] |= uint64(v) << (i % 8 * 8)
	}
	return bitset.FromWithLength(bits, words)
}
