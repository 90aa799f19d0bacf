package versionstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"banyan/internal/diskspace"
	"banyan/internal/diskspace/disktest"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

const (
	smallTable = 1 << 20
	fullDisk   = "24m"
)

// fillDisk writes a file until no byte is free in dir. It returns the path of the file.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	disktest.Fill(t, dir, path)
	return path
}

// On a disk without a free byte, new bodies are refused, pointers move as before, the store
// opens again, and all of it is there afterwards.
func TestTruthOnAFullDiskPointersMove(t *testing.T) {
	dir := smallDisk(t, fullDisk)
	options := embeddb.Options{MemTable: smallTable}
	s, err := versionstore.OpenBadger(filepath.Join(dir, "store"), options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	blobs, err := versionstore.OpenFileBlobs(filepath.Join(dir, "blobs"), 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	sign := storetest.NewSigner()
	m, raw, body := sign.Manifest(t, "a", 1)
	if err := blobs.Put(t.Context(), m.BodySHA256, m.BodySize, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.PutManifest(t.Context(), s, m, raw, "tester"); err != nil {
		t.Fatal(err)
	}
	filler := fillDisk(t, dir)
	other := []byte("x")
	if err := blobs.Put(t.Context(), record.Sum(other), 1, bytes.NewReader(other)); !errors.Is(err, diskspace.ErrFull) {
		t.Errorf("body to a full disk: %v, want ErrFull", err)
	}
	epoch := uint64(0)
	move := func() error {
		p, raw := sign.Pointer(t, "a", "eu", epoch+1, 1)
		_, err := s.Commit(t.Context(), versionstore.Transaction{
			Term:     1,
			Pointers: []versionstore.SignedPointer{{Pointer: p, Raw: raw}},
			By:       "tester",
		})
		if err == nil {
			epoch++
		}
		return err
	}
	for range 200 {
		if err := move(); err != nil {
			t.Fatalf("pointer move %d on a full disk: %v", epoch+1, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, dir) // other processes take what the store gave back
	s, err = versionstore.OpenBadger(filepath.Join(dir, "store"), options)
	if err != nil {
		t.Fatalf("opening on a full disk: %v", err)
	}
	if err := move(); err != nil {
		t.Errorf("pointer move after opening on a full disk: %v", err)
	}
	if p, err := s.Pointer(t.Context(), "a", "eu"); err != nil || p.Pointer.Epoch != epoch {
		t.Errorf("pointer %+v, %v; want epoch %d", p.Pointer, err, epoch)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Put(t.Context(), record.Sum(other), 1, bytes.NewReader(other)); err != nil {
		t.Errorf("body after room was made: %v", err)
	}
}

// A store that writes on and on upon a full disk ends in an error, never in a dead process, and
// goes on when there is room.
func TestTruthAFullDiskIsAnErrorAndHeals(t *testing.T) {
	dir := smallDisk(t, fullDisk)
	s, err := versionstore.OpenBadger(filepath.Join(dir, "store"), embeddb.Options{MemTable: smallTable})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	filler := fillDisk(t, dir)
	written := 0
	put := func() error {
		d := versionstore.DocumentWrite{Kind: "plan", Name: "p", Raw: make([]byte, 100<<10), IfSeq: uint64(written)}
		_, err := s.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: []versionstore.DocumentWrite{d}, By: "tester"})
		if err == nil {
			written++
		}
		return err
	}
	for err == nil {
		err = put()
		if written > 1000 {
			t.Fatal("the disk is never full")
		}
	}
	if !errors.Is(err, diskspace.ErrFull) || written == 0 {
		t.Errorf("after %d writes: %v, want ErrFull", written, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := put(); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	d, err := s.Document(t.Context(), "plan", "p")
	if err != nil || d.Seq != uint64(written) {
		t.Errorf("document %d, %v; want %d", d.Seq, err, written)
	}
}
