package versionstore

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"banyan/record"
)

// row is the stored form of a manifest, a pointer or a document.
type row struct {
	Raw      []byte `cbor:"1,keyasint"`
	By       string `cbor:"2,keyasint"`
	AtMicros int64  `cbor:"3,keyasint"`
	Revision uint64 `cbor:"4,keyasint"`
}

func newRow(raw []byte, by string, revision uint64) row {
	return row{Raw: raw, By: by, AtMicros: time.Now().UnixMicro(), Revision: revision}
}

func (r row) encode() ([]byte, error) { return cbor.Marshal(r) }

func (r row) at() time.Time { return time.UnixMicro(r.AtMicros) }

func decodeRow(b []byte) (row, error) {
	var r row
	if err := cbor.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return r, nil
}

func (r row) version() (Version, error) {
	m, err := record.DecodeManifest(r.Raw)
	if err != nil {
		return Version{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return Version{Manifest: m, Raw: r.Raw, By: r.By, At: r.at(), Revision: r.Revision}, nil
}

func (r row) pointer() (PointerState, error) {
	p, err := record.DecodePointer(r.Raw)
	if err != nil {
		return PointerState{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return PointerState{Pointer: p, Raw: r.Raw, By: r.By, At: r.at(), Revision: r.Revision}, nil
}

func (r row) document(kind, name string) Document {
	return Document{Kind: kind, Name: name, Raw: r.Raw, Seq: r.Revision, By: r.By, At: r.at()}
}
