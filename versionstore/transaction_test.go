package versionstore_test

import (
	"errors"
	"fmt"
	"testing"

	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// A transaction that etcd can't take is refused by every store, before anything is written.
func TestTruthATransactionHasAStatedLimit(t *testing.T) {
	documents := func(n, size int) (all []versionstore.DocumentWrite) {
		for i := range n {
			d := versionstore.DocumentWrite{Kind: "k", Name: fmt.Sprint(i), Raw: make([]byte, size)}
			all = append(all, d)
		}
		return all
	}
	for what, c := range map[string]struct {
		t    versionstore.Transaction
		want error
	}{
		"most operations":      {versionstore.Transaction{Documents: documents(1023, 1)}, nil},
		"too many operations":  {versionstore.Transaction{Documents: documents(1024, 1)}, record.ErrTooLarge},
		"too many guards":      {versionstore.Transaction{Guards: make([]versionstore.Guard, 1024)}, record.ErrTooLarge},
		"most bytes":           {versionstore.Transaction{Documents: documents(2, 512<<10)}, nil},
		"too many bytes":       {versionstore.Transaction{Documents: documents(3, 400<<10)}, record.ErrTooLarge},
		"too large a document": {versionstore.Transaction{Documents: documents(1, 512<<10+1)}, record.ErrTooLarge},
	} {
		if err := c.t.Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// What a transaction writes twice, one store would take and another refuse.
func TestTruthATransactionWritesAThingOnce(t *testing.T) {
	p, raw := storetest.NewSigner().Pointer(t, "a", "eu", 1, 1)
	pointer := versionstore.SignedPointer{Pointer: p, Raw: raw}
	document := versionstore.DocumentWrite{Kind: "k", Name: "n"}
	removal := versionstore.Removal{Config: "a", Versions: []uint64{1}}
	for what, bad := range map[string]versionstore.Transaction{
		"a document":        {Documents: []versionstore.DocumentWrite{document, document}},
		"a pointer":         {Pointers: []versionstore.SignedPointer{pointer, pointer}},
		"a removed version": {Removals: []versionstore.Removal{{Config: "a", Versions: []uint64{1, 1}}}},
		"a removed config":  {Removals: []versionstore.Removal{removal, removal}},
		"removed and named": {Removals: []versionstore.Removal{removal}, Pointers: []versionstore.SignedPointer{pointer}},
		"removed and published": {
			Removals: []versionstore.Removal{removal},
			Versions: []versionstore.SignedManifest{{Manifest: record.Manifest{Config: "a", Version: 2}}},
		},
	} {
		if err := bad.Check(); !errors.Is(err, versionstore.ErrTransaction) {
			t.Errorf("%s twice: %v, want ErrTransaction", what, err)
		}
	}
}
