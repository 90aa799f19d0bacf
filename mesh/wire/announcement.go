package wire

import (
	"fmt"

	"banyan/record"
)

// Announcement carries a signed pointer down the tree.
type Announcement struct {
	// Revision is the unsigned revision of the store at the write of the pointer.
	Revision uint64
	// Raw is the signed pointer.
	Raw []byte
	// Pushed reports that a Push with the newly named version follows right behind.
	Pushed bool
	// Pointer is the content of Raw, and Digest the digest of Pointer. Both are set by Verified.
	Pointer record.Pointer
	Digest  record.Digest
}

// NewAnnouncement returns the announcement of a pointer that is known to be signed in raw.
func NewAnnouncement(revision uint64, raw []byte, p record.Pointer) *Announcement {
	return &Announcement{Revision: revision, Raw: raw, Pointer: p, Digest: p.Digest()}
}

// Verified sets the content of the announcement after the receiver has verified Raw.
func (m *Announcement) Verified(p record.Pointer) {
	m.Pointer = p
	m.Digest = p.Digest()
}

// wireAnnouncement is the encoded form of an Announcement.
type wireAnnouncement struct {
	Revision uint64 `cbor:"1,keyasint"`
	Raw      []byte `cbor:"2,keyasint"`
	Pushed   bool   `cbor:"3,keyasint,omitempty"`
}

func (*Announcement) tag() byte { return 6 }

func (m *Announcement) wireForm() (any, error) {
	return wireAnnouncement{Revision: m.Revision, Raw: m.Raw, Pushed: m.Pushed}, nil
}

func (*Announcement) validate() error { return nil } // decodeAnnouncement limits the whole encoding

func decodeAnnouncement(data []byte) (Message, error) {
	if 1+len(data) > record.MaxAnnouncement {
		return nil, fmt.Errorf("%w: announcement of %d bytes, the limit is %d",
			ErrMalformed, 1+len(data), record.MaxAnnouncement)
	}
	w, err := unmarshal[wireAnnouncement](data)
	if err != nil {
		return nil, err
	}
	return validated(&Announcement{Revision: w.Revision, Raw: w.Raw, Pushed: w.Pushed})
}

// SignedHead carries a signed head down the tree.
type SignedHead struct {
	Raw []byte `cbor:"1,keyasint"`
}

func (*SignedHead) tag() byte { return 7 }

func (m *SignedHead) validate() error { return checkLength("head: bytes", len(m.Raw), record.MaxHead) }

// CatchUp asks a node for the pointers that changed after the revision Since.
type CatchUp struct {
	Since uint64 `cbor:"1,keyasint"`
	// Paged asks for one page of them, and a Page after it.
	Paged bool `cbor:"2,keyasint,omitempty"`
}

func (*CatchUp) tag() byte { return 8 }

func (*CatchUp) validate() error { return nil }

// Page ends a page of pointers that a CatchUp asked for.
type Page struct {
	// Last is the revision of the last pointer of the page; 0 if the page is empty.
	Last uint64 `cbor:"1,keyasint"`
	// More is true if pointers with higher revisions follow.
	More bool `cbor:"2,keyasint,omitempty"`
}

func (*Page) tag() byte { return 27 }

func (*Page) validate() error { return nil }

// Shadow asks a node to act as the sender's backup: to send a Notice when there is news.
type Shadow struct {
	Index uint32 `cbor:"1,keyasint"`
}

func (*Shadow) tag() byte { return 15 }

func (*Shadow) validate() error { return nil }

// Notice reports how far the sender is, to a node that the sender is the backup of.
type Notice struct {
	Revision uint64 `cbor:"1,keyasint"`
	// Head is the position of the sender's newest head.
	Head record.Position `cbor:"2,keyasint"`
}

func (*Notice) tag() byte { return 16 }

func (*Notice) validate() error { return nil }
