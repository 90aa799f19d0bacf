package ledger

import (
	"encoding/json"
	"reflect"
	"testing"
)

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(`{"at":"2026-03-01T12:00:00Z","by":"admin","what":"version 1 stored","config":"a","why":"first"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decodeEntry(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			return // a time that JSON can't say
		}
		if got, err := decodeEntry(again); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v becomes %+v, %v", e, got, err)
		}
	})
}
