package versionstore

import "testing"

func FuzzDecodeRow(f *testing.F) {
	b, err := row{Raw: []byte("signed"), By: "admin", AtMicros: 1, Revision: 2}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		r.version()
		r.pointer()
	})
}
