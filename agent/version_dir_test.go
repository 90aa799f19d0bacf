package agent

import (
	"bytes"
	"testing"

	"banyan/record"
)

func FuzzDecodeMeta(f *testing.F) {
	m, _ := manifestOf(f, "a", 1, []byte("content"))
	signed, err := record.SignManifest(m, signer)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := encodeMeta(m, signed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(bytes.ToUpper(raw))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, signed, err := decodeMeta(raw)
		if err != nil {
			return
		}
		again, err := encodeMeta(m, signed)
		if err != nil || !bytes.Equal(raw, again) {
			t.Errorf("%q is taken for %q, %v", raw, again, err)
		}
	})
}
