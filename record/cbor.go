package record

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var (
	canonical = must(cbor.CoreDetEncOptions().EncMode())
	strict    = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       64,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// decodeCanonical decodes payload into v, and refuses a payload that differs from the
// canonical encoding of v: a record has exactly one encoding, so a hash or a signature over
// the bytes is a hash or a signature over the meaning.
func decodeCanonical(payload []byte, v any) error {
	if p, ok := v.(*Pointer); ok { // pointers are by far the most frequent records
		if parsePointer(payload, p) {
			return nil
		}
		*p = Pointer{}
	}
	if err := strict.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w: %s", ErrMalformed, err)
	}
	again, err := canonical.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrMalformed, err)
	}
	if !bytes.Equal(payload, again) {
		return fmt.Errorf("%w: encoding is not canonical", ErrMalformed)
	}
	return nil
}
