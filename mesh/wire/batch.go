package wire

import "banyan/record"

// Batch carries several pointers of one region down the tree, under one signature. A node may send them as
// Announcements instead. The revisions are in ascending order.
type Batch struct {
	// Root is the signed root of the tree over the payloads of the pointers.
	Root     []byte           `cbor:"1,keyasint"`
	Pointers []BatchedPointer `cbor:"2,keyasint"`
}

// BatchedPointer is a pointer in a Batch. The fields are those of an Announcement, with the
// unsigned payload of the pointer.
type BatchedPointer struct {
	Revision uint64 `cbor:"1,keyasint"`
	Payload  []byte `cbor:"2,keyasint"`
	Pushed   bool   `cbor:"3,keyasint,omitempty"`
}

func (*Batch) tag() byte { return 30 }

func (m *Batch) validate() error {
	if err := checkLength("batch: bytes of the root", len(m.Root), record.MaxRoot); err != nil {
		return err
	}
	if err := checkLength("batch: pointers", len(m.Pointers), record.MaxBatch); err != nil {
		return err
	}
	for i := range m.Pointers {
		err := checkLength("batch: bytes of a pointer", len(m.Pointers[i].Payload), record.MaxPointerPayload)
		if err != nil {
			return err
		}
	}
	return nil
}

// Payloads returns the payloads of the pointers.
func (m *Batch) Payloads() [][]byte {
	payloads := make([][]byte, len(m.Pointers))
	for i := range m.Pointers {
		payloads[i] = m.Pointers[i].Payload
	}
	return payloads
}

// Announcements returns an announcement of each pointer of the batch. signed holds the verified pointers
// with their proofs, in the order of the batch.
func (m *Batch) Announcements(signed []record.SignedPointer) []*Announcement {
	all := make([]*Announcement, len(signed))
	for i, s := range signed {
		all[i] = &Announcement{
			Revision: m.Pointers[i].Revision,
			Raw:      s.Raw,
			Pushed:   m.Pointers[i].Pushed,
			Pointer:  s.Pointer,
			Digest:   s.Digest,
		}
	}
	return all
}
