package versionstore

import "testing"

func FuzzDecodeRow(f *testing.F) {
	b, err := Row{Raw: []byte("signed"), By: "admin", AtMicros: 1, Revision: 2}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRow(b)
		if err != nil {
			return
		}
		r.Version()
		r.Pointer()
	})
}
