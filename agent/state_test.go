package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

func TestCommittedEpochsNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	s, err := openState(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(epoch uint64) error {
		p := record.Pointer{Config: "a", Region: "eu", Term: 1, Epoch: epoch, Baseline: key("a", 1).Ref(), Phase: record.PhaseActive, TimeMicros: 1}
		raw, err := record.SignPointer(p, signer)
		if err != nil {
			t.Fatal(err)
		}
		return s.commit([]committed{{Raw: raw, Revision: 10 * epoch, Version: p.Baseline, Watermark: 10*epoch - 1, pointer: p}})
	}
	for _, epoch := range []uint64{1, 5, 5} {
		if err := commit(epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := commit(4); !errors.Is(err, errStale) {
		t.Errorf("an older epoch was committed: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openState(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	r, err := s.load()
	if err != nil || len(r.rows) != 1 || r.rows[0].pointer.Epoch != 5 || r.watermark != 49 {
		t.Errorf("loaded %+v, %v", r, err)
	}
}

func FuzzDecodeCommitted(f *testing.F) {
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) { decodeCommitted(b) })
}

func TestADamagedStateIsRefused(t *testing.T) {
	for name, damage := range map[string]struct{ key, value string }{
		"a row that is no CBOR":       {"ca", "nonsense"},
		"a row without a pointer":     {"ca", "\xa0"},
		"a watermark of another size": {watermarkKey, "xyz"},
	} {
		s, err := openState(t.TempDir(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		err = s.db.Write(func(txn *badger.Txn) error {
			return embeddb.Put(txn, []byte(damage.key), []byte(damage.value))
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.load(); !errors.Is(err, embeddb.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
		s.close()
	}
}

func TestAStateThatCannotBeOpenedSaysSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openState(file, 1); err == nil {
		t.Error("a file was opened as the directory of a state")
	}
}
