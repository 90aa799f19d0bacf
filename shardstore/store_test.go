package shardstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"banyan/fec"
	"banyan/internal/diskspace"
	"banyan/record"
)

// body is a form, cut.
type body struct {
	bytes  []byte
	form   record.Form
	index  fec.Index
	shards [][]byte // data alone
}

func newBody(t *testing.T, size int, seed byte) body {
	t.Helper()
	b := body{bytes: make([]byte, size)}
	rand.NewChaCha8([32]byte{seed}).Read(b.bytes)
	var err error
	if b.form, b.index, err = fec.FormOf(b.bytes); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < size; at += int(b.form.Geometry.ShardBytes) {
		shard := make([]byte, b.form.Geometry.ShardBytes)
		copy(shard, b.bytes[at:])
		b.shards = append(b.shards, shard)
	}
	return b
}

// number is the number of the i-th data shard.
func (b *body) number(i int) int {
	g := b.form.Geometry
	return i/int(g.Data)*g.PerStripe() + i%int(g.Data)
}

func key(version uint64) record.FormKey {
	return record.FormKey{VersionKey: record.VersionKey{Config: "app/model", Version: version}}
}

var errNone = errors.New("none")

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, 1<<20, func(record.FormKey) (*os.File, record.Form, fec.Index, error) {
		return nil, record.Form{}, nil, errNone
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (b *body) begin(t *testing.T, s *Store, version uint64) uint {
	t.Helper()
	have, err := s.Begin(key(version), b.form, []byte("manifest"), b.index.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for n := range b.index {
		if b.form.Geometry.IsPadding(b.form.Size, n) {
			have.Clear(uint(n))
		}
	}
	return have.Count()
}

func TestAFormGoesThroughTheStore(t *testing.T) {
	dir := t.TempDir()
	b := newBody(t, 400_000, 1)
	s := open(t, filepath.Join(dir, "partial"))
	b.begin(t, s, 1)
	for i, shard := range b.shards {
		if _, err := s.Put(key(1), b.number(i), shard); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(key(1), b.number(i), make([]byte, record.MaxShardBytes)); err != nil || !bytes.Equal(got, shard) {
			t.Fatalf("shard %d is not served: %v", i, err)
		}
	}
	path, index, err := s.Finish(key(1))
	if err != nil || !bytes.Equal(index, b.index.Bytes()) {
		t.Fatal(err)
	}
	final := filepath.Join(dir, "value")
	if err := os.Rename(path, final); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(key(1)); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(final); !bytes.Equal(got, b.bytes) {
		t.Error("the file is not the body")
	}
	if _, err := s.Get(key(1), b.form.Geometry.PerStripe()-1, make([]byte, record.MaxShardBytes)); err != nil {
		t.Errorf("parity of a form that was moved: %v", err)
	}
	if size, err := s.Size(); err != nil || size != 0 {
		t.Errorf("%d bytes are left behind: %v", size, err)
	}
}

func TestWhatWasPutIsThereAfterARestartAndAnotherFormIsNot(t *testing.T) {
	dir := t.TempDir()
	b := newBody(t, 400_000, 1)
	first := open(t, dir)
	b.begin(t, first, 1)
	for i := range 3 {
		if _, err := first.Put(key(1), b.number(i), b.shards[i]); err != nil {
			t.Fatal(err)
		}
	}
	if held := b.begin(t, open(t, dir), 1); held != 3 { // the first never closed, as after kill -9
		t.Errorf("%d shards are there, want 3", held)
	}
	other := newBody(t, 400_000, 2)
	if held := other.begin(t, open(t, dir), 1); held != 0 {
		t.Errorf("%d shards of another body count for this one", held)
	}
}

func TestRefusals(t *testing.T) {
	b := newBody(t, 400_000, 1)
	s := open(t, t.TempDir())
	if _, err := s.Put(key(1), 0, b.shards[0]); !errors.Is(err, ErrUnknown) {
		t.Errorf("a form that was not begun: %v", err)
	}
	if _, err := s.Get(key(1), 0, make([]byte, record.MaxShardBytes)); !errors.Is(err, errNone) {
		t.Errorf("a form that the owner has not: %v", err)
	}
	wrong := bytes.Clone(b.index.Bytes())
	wrong[0] ^= 1
	if _, err := s.Begin(key(1), b.form, nil, wrong); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("another index: %v", err)
	}
	b.begin(t, s, 1)
	if _, err := s.Put(key(1), 1, b.shards[0]); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("poison: %v", err)
	}
	if _, _, err := s.Finish(key(1)); !errors.Is(err, fec.ErrNotHeld) {
		t.Errorf("a form that is not complete: %v", err)
	}
	full, err := Open(t.TempDir(), 1<<60, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := full.Begin(key(1), b.form, nil, b.index.Bytes()); !errors.Is(err, diskspace.ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
}

func TestNoMoreFormsAreOpenThanMayBe(t *testing.T) {
	b := newBody(t, 20_000, 1)
	s := open(t, t.TempDir())
	for v := range uint64(MaxOpen) {
		b.begin(t, s, v+1)
	}
	if _, err := s.Begin(key(MaxOpen+1), b.form, nil, b.index.Bytes()); !errors.Is(err, ErrBusy) {
		t.Fatalf("got %v, want ErrBusy", err)
	}
	if err := s.Drop(key(1).VersionKey); err != nil {
		t.Fatal(err)
	}
	b.begin(t, s, MaxOpen+1)
}

// A form whose exchange ended without the body gives up its place, and keeps its shards.
func TestTruthAnIdleFormMakesRoomForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		b := newBody(t, 300<<10, 1)
		for version := range uint64(MaxOpen) {
			b.begin(t, s, version)
		}
		if _, err := s.Put(key(0), b.number(0), b.shards[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * idleAfter)
		for version := uint64(1); version < MaxOpen; version++ {
			if _, err := s.Put(key(version), b.number(0), b.shards[0]); err != nil {
				t.Fatal(err)
			}
		}
		b.begin(t, s, MaxOpen)
		if _, err := s.Put(key(0), b.number(1), b.shards[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("a shard of the form that was idle: %v, want ErrUnknown", err)
		}
		time.Sleep(2 * idleAfter)
		if have := b.begin(t, s, 0); have != 1 {
			t.Errorf("the form that was idle has %d shards when it begins again, want 1", have)
		}
	})
}

func TestPruneRemovesWhatNobodyAsksFor(t *testing.T) {
	dir := t.TempDir()
	b := newBody(t, 20_000, 1)
	first := open(t, dir)
	b.begin(t, first, 1)
	first.Close()
	s := open(t, dir)
	b.begin(t, s, 2)
	if err := s.Prune(time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, dir)); n != 2 {
		t.Errorf("%d forms are there, want both: they are young", n)
	}
	if err := s.Prune(0); err != nil {
		t.Fatal(err)
	}
	if left := entries(t, dir); len(left) != 1 || left[0] != filepath.Base(s.dir.path(key(2))) {
		t.Errorf("left: %v", left)
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, fmt.Sprint(e.Name()))
	}
	return names
}

func TestAFormThatComesInOnePieceIsServedByTheShardAndWhole(t *testing.T) {
	for _, size := range []int{1, 100, 40_000, 700_001} {
		s, b := open(t, t.TempDir()), newBody(t, size, 4)
		b.begin(t, s, 1)
		if _, err := s.OpenWhole(key(1)); !errors.Is(err, ErrUnknown) {
			t.Errorf("%d bytes: nothing has come, and it opens: %v", size, err)
		}
		have, err := s.Fill(key(1), b.bytes)
		if err != nil || int(have.Count()) < len(b.index) {
			t.Fatalf("%d bytes: %d of %d shards are here: %v", size, have.Count(), len(b.index), err)
		}
		buf := make([]byte, record.MaxShardBytes)
		for n := range b.index { // parity too
			if shard, err := s.Get(key(1), n, buf); err != nil || record.Sum(shard) != b.index[n] {
				t.Fatalf("%d bytes, shard %d: %v", size, n, err)
			}
		}
		r, err := s.OpenWhole(key(1))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || !bytes.Equal(got, b.bytes) {
			t.Errorf("%d bytes: %d came back: %v", size, len(got), err)
		}
		if stored := s.Stored(); stored < int64(size) {
			t.Errorf("%d bytes: %d are said to be stored", size, stored)
		}
		if err := s.Drop(key(1).VersionKey); err != nil || s.Stored() != 0 {
			t.Errorf("%d bytes are stored of what was dropped: %v", s.Stored(), err)
		}
	}
}

func TestAFormWhoseBytesAreOthersIsNotFilled(t *testing.T) {
	s, b := open(t, t.TempDir()), newBody(t, 100_000, 5)
	b.begin(t, s, 1)
	b.bytes[50_000] ^= 1
	if _, err := s.Fill(key(1), b.bytes); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want %v", err, record.ErrChecksum)
	}
}
