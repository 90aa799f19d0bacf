package versionstore

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"banyan/record"
)

// Row is the stored form of a manifest, a pointer or a document. Implementations of Store share it.
type Row struct {
	Raw      []byte `cbor:"1,keyasint"`
	By       string `cbor:"2,keyasint"`
	AtMicros int64  `cbor:"3,keyasint"`
	// Revision is the revision of a manifest or a pointer, and the sequence of a document. A store that
	// has it elsewhere leaves it zero in what it stores.
	Revision uint64 `cbor:"4,keyasint"`
	// Term is the term of the write, in a store that does not store the revision.
	Term uint64 `cbor:"5,keyasint,omitempty"`
}

func newRow(raw []byte, by string, revision uint64) Row {
	return Row{Raw: raw, By: by, AtMicros: time.Now().UnixMicro(), Revision: revision}
}

// Encode returns the encoded row.
func (r Row) Encode() ([]byte, error) { return cbor.Marshal(r) }

// At returns the time of the write.
func (r Row) At() time.Time { return time.UnixMicro(r.AtMicros) }

// DecodeRow decodes a row. The error wraps ErrCorrupt.
func DecodeRow(b []byte) (Row, error) {
	var r Row
	if len(b) > maxRow {
		return r, fmt.Errorf("%w: a row of %d bytes, the limit is %d", ErrCorrupt, len(b), maxRow)
	}
	if err := cbor.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return r, nil
}

// Version returns the version in the row of a manifest.
func (r Row) Version() (Version, error) {
	m, err := record.DecodeManifest(r.Raw)
	if err != nil {
		return Version{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return Version{Manifest: m, Raw: r.Raw, By: r.By, At: r.At(), Revision: r.Revision}, nil
}

// Pointer returns the pointer in the row of a pointer.
func (r Row) Pointer() (PointerState, error) {
	p, err := record.DecodePointer(r.Raw)
	if err != nil {
		return PointerState{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return PointerState{Pointer: p, Raw: r.Raw, By: r.By, At: r.At(), Revision: r.Revision}, nil
}

// Document returns the document in the row of a document.
func (r Row) Document(kind, name string) Document {
	return Document{Kind: kind, Name: name, Raw: r.Raw, Seq: r.Revision, By: r.By, At: r.At()}
}
