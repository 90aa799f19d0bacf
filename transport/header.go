package transport

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"banyan/body"
	"banyan/mesh/wire"
	"banyan/record"
)

// bodyRequest opens a body stream. It asks for a version.
type bodyRequest struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
	// Have, Choice, FormOnly and Whole are the fields of a body.Wish.
	Have     []record.Ref    `cbor:"3,keyasint,omitempty"`
	Choice   wire.FormChoice `cbor:"4,keyasint,omitempty"`
	FormOnly bool            `cbor:"5,keyasint,omitempty"`
	Digest   record.Digest   `cbor:"6,keyasint"` // of the version's manifest
	Whole    bool            `cbor:"7,keyasint,omitempty"`
}

func (q *bodyRequest) key() record.VersionKey {
	return record.VersionKey{Config: q.Config, Version: q.Version, Digest: q.Digest}
}

// validate reports whether the request may be handed to the node.
func (q *bodyRequest) validate() bool {
	return record.ValidateConfig(q.Config) == nil && q.Choice <= wire.OnlyForm(record.MaxForms-1)
}

// bodyHeader answers a bodyRequest. Reason is set if the peer serves nothing; otherwise Size
// bytes follow the header.
type bodyHeader struct {
	Reason   string       `cbor:"1,keyasint"`
	Manifest []byte       `cbor:"2,keyasint"` // as signed
	Size     int64        `cbor:"3,keyasint"`
	Form     uint8        `cbor:"4,keyasint"`
	What     body.Content `cbor:"5,keyasint"`
}

// shardHeader opens a stream that carries one shard. The bytes of the shard follow, up to the
// end of the stream.
type shardHeader struct {
	Config  string        `cbor:"1,keyasint"`
	Version uint64        `cbor:"2,keyasint"`
	Form    uint8         `cbor:"3,keyasint"`
	Number  uint32        `cbor:"4,keyasint"`
	Digest  record.Digest `cbor:"5,keyasint"` // of the version's manifest
}

func (h *shardHeader) key() record.FormKey {
	version := record.VersionKey{Config: h.Config, Version: h.Version, Digest: h.Digest}
	return record.FormKey{VersionKey: version, Form: h.Form}
}

var headerDecoder = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  4,
		MaxArrayElements: 16,
		MaxMapPairs:      16,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// writeHeader writes v in CBOR, with its length before it: two bytes, big-endian.
func writeHeader(w io.Writer, v any) error {
	b, err := cbor.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

// readHeader reads what writeHeader wrote.
func readHeader(r io.Reader, v any) error {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxHeader {
		return fmt.Errorf("%w: header of %d bytes", ErrFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if err := headerDecoder.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s", wire.ErrMalformed, err)
	}
	return nil
}
