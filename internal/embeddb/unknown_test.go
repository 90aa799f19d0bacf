package embeddb

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

func openMarked(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(dir, Options{MemTable: 1 << 20, Mark: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// write writes a key, and reads reports whether the database has the key.
func write(db *DB, key string) error {
	return db.Write(func(txn *badger.Txn) error { return Put(txn, []byte(key), []byte("v")) })
}

func reads(db *DB, key string) bool {
	err := db.View(func(txn *badger.Txn) error {
		_, err := Get(txn, []byte(key))
		return err
	})
	return err == nil
}

// A write that happened, and whose mark could not be raised, is neither called done nor failed. It
// is finished before the next write.
func TestTruthAWriteThatMayHaveHappenedSaysSo(t *testing.T) {
	dir := t.TempDir()
	db := openMarked(t, dir)
	if err := write(db, "one"); err != nil {
		t.Fatal(err)
	}
	whole := db.mark.f
	readOnly, err := os.Open(filepath.Join(dir, markName))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	db.mark.f = readOnly
	if err := write(db, "two"); !errors.Is(err, ErrUnknown) || !reads(db, "two") {
		t.Errorf("a write whose mark was not raised: %v; there: %v", err, reads(db, "two"))
	}
	if err := write(db, "three"); err == nil || errors.Is(err, ErrUnknown) || reads(db, "three") {
		t.Errorf("a write after one that is not finished: %v; there: %v", err, reads(db, "three"))
	}
	db.mark.f = whole
	if err := write(db, "three"); err != nil || db.mark.n != 3 {
		t.Errorf("after the fault: %v, mark %d", err, db.mark.n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again := openMarked(t, dir)
	for _, key := range []string{"one", "two", "three"} {
		if !reads(again, key) {
			t.Errorf("%s is gone after a restart", key)
		}
	}
}

// After a failure of Badger itself only a restart knows what was written.
func TestTruthADatabaseThatFailedWritesNoMore(t *testing.T) {
	db := openMarked(t, t.TempDir())
	whole := db.update
	db.update = func(fn func(txn *badger.Txn) error) error {
		if err := whole(fn); err != nil {
			return err
		}
		return errors.New("input/output error")
	}
	if err := write(db, "one"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a commit that failed: %v", err)
	}
	db.update = whole
	if err := write(db, "two"); err == nil || reads(db, "two") {
		t.Errorf("a write after a commit that failed: %v", err)
	}
}

// A refusal by the caller's function is no fault of the database.
func TestARefusedTransactionWritesNothing(t *testing.T) {
	db := openMarked(t, t.TempDir())
	refusal := errors.New("conflict")
	err := db.Write(func(*badger.Txn) error { return refusal })
	if !errors.Is(err, refusal) || errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if err := write(db, "one"); err != nil || db.mark.n != 1 {
		t.Errorf("after a refusal: %v, mark %d", err, db.mark.n)
	}
}

// Each sync of the directory that was due and failed is made before the next write.
func TestTruthALostSyncOfTheDirectoryIsMadeUpFor(t *testing.T) {
	for _, failing := range []int{1, 2} { // the sync of the new log's name, and of the table's name
		db := openMarked(t, t.TempDir())
		calls := 0
		whole := db.syncDir
		db.syncDir = func(dir string) error {
			calls++
			if calls == failing {
				return errors.New("input/output error")
			}
			return whole(dir)
		}
		var failed error
		for i := 0; failed == nil && i < 40; i++ {
			failed = db.Write(func(txn *badger.Txn) error { return Put(txn, []byte{byte(i)}, make([]byte, 100<<10)) })
		}
		if !errors.Is(failed, ErrUnknown) || db.names == namesDurable {
			t.Fatalf("sync %d fails: %v, names %d", failing, failed, db.names)
		}
		if err := write(db, "next"); err != nil || db.names != namesDurable || calls <= failing {
			t.Errorf("sync %d failed; the next write: %v, names %d, %d syncs", failing, err, db.names, calls)
		}
	}
}
