// Package embeddb opens Badger the way both the coordinator's store and an
// agent's state want it: synchronous writes, a small footprint, errors that say
// what to do, and a checksum of our own around every value.
//
// The checksum is there because Badger's tracker has reports of values lost or
// unreadable after power failure: what is read back is checked, not trusted.
package embeddb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"banyan/internal/diskspace"
)

var (
	// ErrCorrupt: the database, or a value in it, is damaged.
	ErrCorrupt = errors.New("database is damaged")
	// ErrInUse: another process holds the database.
	ErrInUse = errors.New("database is in use by another process")
)

// Options size a database.
type Options struct {
	// MemTable is the size of the in-memory table, in bytes; 0 means 8 MiB.
	MemTable int64
	// Reserve is the number of bytes that must be free on the disk for a write
	// to be taken; 0 means 32 MiB.
	Reserve int64
}

// DB is an open database.
type DB struct {
	*badger.DB
	dir     string
	reserve int64
}

// Open opens or creates the database in dir.
func Open(dir string, o Options) (*DB, error) {
	if o.MemTable == 0 {
		o.MemTable = 8 << 20
	}
	if o.Reserve == 0 {
		o.Reserve = 32 << 20
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := diskspace.Check(dir, 0, o.Reserve); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := inspect(dir); err != nil {
		return nil, err
	}
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // writers are serialized above
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithMemTableSize(o.MemTable).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithNumCompactors(2).
		WithBaseTableSize(o.MemTable).
		WithBaseLevelSize(4 * o.MemTable).
		WithValueThreshold(min(1<<20, o.MemTable/8)).
		WithValueLogFileSize(max(4*o.MemTable, 4<<20)))
	if err != nil {
		return nil, openError(dir, err)
	}
	return &DB{DB: db, dir: dir, reserve: o.Reserve}, nil
}

func openError(dir string, err error) error {
	switch {
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return inUse(dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open database %s: %w", dir, err)
	}
	return fmt.Errorf("%w: %s: %s; restore the directory from a backup", ErrCorrupt, dir, firstLine(err.Error()))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Write runs fn in a transaction and commits it durably, if the disk has room.
func (db *DB) Write(fn func(txn *badger.Txn) error) error {
	if err := diskspace.Check(db.dir, 0, db.reserve); err != nil {
		return err
	}
	return db.Update(fn)
}

// Put stores value under key with its checksum.
func Put(txn *badger.Txn, key, value []byte) error {
	stored := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)), xxhash.Sum64(value))
	return txn.Set(key, append(stored, value...))
}

// Get reads what Put stored; badger.ErrKeyNotFound if nothing is there.
func Get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if err != nil {
		return nil, err
	}
	return Value(item)
}

// Value reads an item that Put stored.
func Value(item *badger.Item) ([]byte, error) {
	stored, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	if len(stored) < 8 || binary.BigEndian.Uint64(stored) != xxhash.Sum64(stored[8:]) {
		return nil, fmt.Errorf("%w: checksum of %q", ErrCorrupt, item.Key())
	}
	return stored[8:], nil
}

// Scan calls fn with every key that has the prefix, from prefix+from on, in
// order (from the end downward if reverse), until fn returns false or an error.
func Scan(txn *badger.Txn, prefix, from []byte, reverse bool, fn func(item *badger.Item) (bool, error)) error {
	o := badger.DefaultIteratorOptions
	o.Reverse = reverse
	o.PrefetchValues = false
	it := txn.NewIterator(o)
	defer it.Close()
	start := append(append([]byte{}, prefix...), from...)
	if reverse && len(from) == 0 {
		start = append(start, 0xff)
	}
	for it.Seek(start); it.ValidForPrefix(prefix); it.Next() {
		if more, err := fn(it.Item()); err != nil || !more {
			return err
		}
	}
	return nil
}
