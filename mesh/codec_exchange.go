package mesh

import (
	"encoding/binary"
	"fmt"

	"github.com/bits-and-blooms/bitset"

	"banyan/record"
)

func validateLocations(what string, locations []Location, most int) error {
	if len(locations) > most {
		return fmt.Errorf("%w: %s of %d, the limit is %d", ErrMalformed, what, len(locations), most)
	}
	for _, l := range locations {
		if len(l.Addr) > MaxAddress || len(l.Name) > MaxAddress {
			return fmt.Errorf("%w: %s: address too long", ErrMalformed, what)
		}
		if err := l.Subscriptions.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Brood) validate() error { return validateLocations("brood", m.Members, MaxChildren) }

func (m *Circle) validate() error {
	if err := validateLocations("circle", m.Members, MaxChildren); err != nil {
		return err
	}
	return validateLocations("feeders", m.Feeders, MaxChildren)
}

func (m *Circles) validate() error {
	if len(m.Below) > MaxCircles {
		return fmt.Errorf("%w: %d circles", ErrMalformed, len(m.Below))
	}
	for _, c := range m.Below {
		if c == nil {
			return fmt.Errorf("%w: an empty circle", ErrMalformed)
		}
		if err := c.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Stored) validate() error {
	if len(m.Config) > record.MaxConfigName {
		return fmt.Errorf("%w: stored: name too long", ErrMalformed)
	}
	return nil
}

// encodeBits writes a set of shards: a bit each, without the zeros at the end.
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

func decodeWant(b []byte) (Message, error) {
	w, err := decodeShards(b)
	if err != nil {
		return nil, err
	}
	return &Want{Key: w.key(), Shards: decodeBits(w.Shards), Cancel: decodeBits(w.Cancel)}, nil
}

func decodeDecline(b []byte) (Message, error) {
	w, err := decodeShards(b)
	if err != nil {
		return nil, err
	}
	return &Decline{Key: w.key(), Shards: decodeBits(w.Shards)}, nil
}

func (w *wireWant) key() record.FormKey {
	return record.FormKey{VersionKey: record.VersionKey{Config: w.Config, Version: w.Version}, Form: w.Form}
}

func decodeShards(b []byte) (*wireWant, error) {
	w, err := decodeAs[wireWant](b)
	if err != nil {
		return nil, err
	}
	if len(w.Config) > record.MaxConfigName || len(w.Shards) > record.MaxIndex/8 || len(w.Cancel) > record.MaxIndex/8 || w.Form >= record.MaxForms {
		return nil, fmt.Errorf("%w: shards of a form: a field is too long", ErrMalformed)
	}
	return w, nil
}
