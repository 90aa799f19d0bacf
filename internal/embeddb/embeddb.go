// Package embeddb opens Badger databases for the store of a coordinator and the state of an
// agent: with synchronous writes, little memory, errors that say what to do, and a checksum of
// every value.
//
// Entry points: [Open], [DB.Write], [Put] and [Get].
//
// Values have checksums because Badger's tracker has reports of values that were lost or
// unreadable after a power failure.
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
	// ErrCorrupt is wrapped if the database or a value in it is damaged.
	ErrCorrupt = errors.New("database is damaged")
	// ErrInUse is wrapped if another process has the database open.
	ErrInUse = errors.New("database is in use by another process")
)

// Options are the sizes of a database.
type Options struct {
	// MemTable is the size of the in-memory table in bytes; default 8 MiB.
	MemTable int64
	// Reserve is the number of bytes that must be free on disk before a write; default 32 MiB.
	Reserve int64
}

// DB is an open database.
type DB struct {
	*badger.DB
	dir     string
	reserve int64
}

// Open opens the database in dir, or makes a new database.
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

// openError makes an error of Badger one of this package.
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

// Write calls fn with a transaction and commits the transaction durably. It refuses to write
// if fewer bytes than the reserve are free on disk.
func (db *DB) Write(fn func(txn *badger.Txn) error) error {
	if err := diskspace.Check(db.dir, 0, db.reserve); err != nil {
		return err
	}
	return db.Update(fn)
}

// Put stores value and a checksum under key.
func Put(txn *badger.Txn, key, value []byte) error {
	stored := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)), xxhash.Sum64(value))
	return txn.Set(key, append(stored, value...))
}

// Get returns the value stored by Put under key, or badger.ErrKeyNotFound.
func Get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if err != nil {
		return nil, err
	}
	return Value(item)
}

// Value returns the value of an item stored by Put.
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

// Scan calls fn for the keys with a prefix in ascending order, starting at prefix+from, until
// fn returns false or an error. If reverse is set, the order is descending, and an empty from
// means the last key.
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
