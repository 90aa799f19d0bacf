package versionstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Keys of the embedded store. Names hold no zero byte, so a zero byte ends them;
// numbers are eight bytes, big-endian, so that they sort.
//
//	m <config> 0 <version>   row of a manifest
//	n <config>               last version of the config
//	p <config> 0 <region>    row of a pointer
//	i <region> 0 <revision>  key of the pointer that changed then, if none changed it since
//	l <revision>             key of the row written then, if nothing replaced it since
//	s <config>               JSON Schema
//	d <kind> 0 <name>        row of a document, whose revision is its sequence
//	x <region>               first agent index not yet reserved
//	r                        revision of the newest write
const (
	tagManifest = 'm'
	tagLast     = 'n'
	tagPointer  = 'p'
	tagRegion   = 'i'
	tagLog      = 'l'
	tagSchema   = 's'
	tagDocument = 'd'
	tagIndices  = 'x'
	tagRevision = 'r'
)

func nameKey(tag byte, name string) []byte { return append([]byte{tag}, name...) }

func pairKey(tag byte, name, second string) []byte {
	return append(append(nameKey(tag, name), 0), second...)
}

func numberedKey(tag byte, name string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(nameKey(tag, name), 0), n)
}

func logKey(revision uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tagLog}, revision)
}

func number(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b[len(b)-8:])
}

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// row is what a manifest or pointer is stored as.
type row struct {
	Raw      []byte `cbor:"1,keyasint"`
	By       string `cbor:"2,keyasint"`
	AtMicros int64  `cbor:"3,keyasint"`
	Revision uint64 `cbor:"4,keyasint"`
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
