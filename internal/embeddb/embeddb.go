// Package embeddb opens Badger databases for the store of a coordinator and the state of an
// agent: with synchronous writes, little memory, errors that say what to do, and a checksum of
// every value.
//
// Entry points: [Open], [DB.Write], [Put] and [Get]; [AcceptLoss] after a loss.
//
//	Write ─► room on the disk? ─► Badger: log, msync ─► a new log? sync the directory ─► raise the mark
//
// Promises: a write that returned nil is durable. A write whose end fails may have happened; it is
// finished before the next write. A database with a mark that lacks such a write
// does not open: Badger cuts a log at the first damaged entry and says nothing. The full disk of
// a process that serves is an error of a write, which needs no room while the log has blocks.
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
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"banyan/internal/atomicfile"
)

var (
	// ErrCorrupt is wrapped if the database or a value in it is damaged.
	ErrCorrupt = errors.New("database is damaged")
	// ErrUnknown is wrapped if a write may have happened. The caller reads to know.
	ErrUnknown = errors.New("the write may have happened")
	// ErrInUse is wrapped if another process has the database open.
	ErrInUse = errors.New("database is in use by another process")
)

// Badger makes a table of a log in some milliseconds, unless the disk or the processor is busy.
const (
	settleEvery = time.Millisecond
	settleLooks = 1000
)

// defaultMemTable is the default of Options.MemTable.
const defaultMemTable = 8 << 20

// Options are the sizes of a database.
type Options struct {
	// MemTable is the size of the in-memory table in bytes; default 8 MiB.
	MemTable int64
	// Reserve is the number of bytes of the disk that are kept for the database; the default, and
	// the maximum, is four times MemTable. Below MinReserve nothing is kept.
	Reserve int64
	// Mark means that the number of the newest write is also kept in a file apart. Open
	// compares the two and returns an error that wraps ErrBehind if writes are missing.
	Mark bool
}

// DB is an open database.
type DB struct {
	*badger.DB
	dir string

	writing sync.Mutex // guards the fields below
	space   space
	log     *logReader // the log that is being written
	mark    *mark      // nil without Options.Mark
	count   uint64     // number of the newest finished write; 0 without Options.Mark
	names   names
	broken  error // why Badger does not write any more; nil if it does

	unfinished bool // a write was committed, and finish has not succeeded since

	// The calls that tests replace.
	syncDir func(dir string) error
	update  func(fn func(txn *badger.Txn) error) error
}

// Open opens the database in dir, or makes a new database.
func Open(dir string, o Options) (_ *DB, err error) {
	if o.MemTable == 0 {
		o.MemTable = defaultMemTable
	}
	if most := 4 * o.MemTable; o.Reserve == 0 || o.Reserve > most {
		o.Reserve = most
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := inspect(dir, o.Mark); err != nil {
		return nil, err
	}
	db := &DB{
		dir:     dir,
		space:   space{dir: dir, table: o.MemTable, need: o.Reserve},
		syncDir: atomicfile.SyncDir,
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := db.prepare(o); err != nil {
		return nil, err
	}
	db.DB, err = badger.Open(badgerOptions(dir, o))
	if err != nil {
		return nil, openError(dir, err)
	}
	db.update = db.DB.Update
	return db, db.begin()
}

func badgerOptions(dir string, o Options) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // Write runs one transaction at a time
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
		WithValueLogFileSize(max(4*o.MemTable, 4<<20))
}

// prepare checks the logs and the disk before Badger opens the database.
func (db *DB) prepare(o Options) error {
	l, err := readLogs(db.dir)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if o.Mark {
		db.mark, err = openMarkFor(db.dir)
		if err != nil {
			return err
		}
		if err := checkLogs(db.dir, db.mark, l); err != nil {
			return err
		}
	}
	if err := db.space.open(l); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return nil
}

// begin makes the files of a database that Badger has just opened durable, and compares the
// database with the mark.
func (db *DB) begin() error {
	if err := db.readOn(); err != nil {
		return err
	}
	if err := db.syncNames(); err != nil {
		return err
	}
	db.space.restore(false)
	if db.mark == nil {
		return nil
	}
	err := db.View(func(txn *badger.Txn) (err error) {
		db.count, err = readCount(txn)
		return err
	})
	if err != nil {
		return err
	}
	if db.count < db.mark.n {
		return behind(db.dir, db.count, db.mark.n, "files are gone or damaged")
	}
	return nil
}

// readOn reads what was appended to the log, and goes over to the log that Badger has begun.
func (db *DB) readOn() error {
	if db.log != nil {
		more, err := db.log.advance()
		if err != nil || more {
			return err
		}
	}
	ids, err := logIDs(db.dir)
	if err != nil {
		return err
	}
	if len(ids) == 0 || db.log != nil && db.log.id == ids[len(ids)-1] {
		return nil
	}
	next, err := openLog(db.dir, ids[len(ids)-1])
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	if db.log != nil {
		db.log.close()
	}
	db.log = next
	db.names = namesNew
	if _, err := next.advance(); err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	db.space.adopt(next)
	return nil
}

// names is how far the names of the files of a database are durable. Badger does not sync the
// directory after making a file.
type names uint8

const (
	namesDurable names = iota
	// namesNew: a log was begun, and the directory was not synced since.
	namesNew
	// namesComing: the directory was synced, and Badger was making tables of older logs.
	namesComing
)

// syncNames syncs the directory after a log was begun, and again after Badger has made tables of
// the older logs. A sync that fails, or that would come too early, is made before the next write.
func (db *DB) syncNames() error {
	if db.names == namesNew {
		if err := db.syncDir(db.dir); err != nil {
			return err
		}
		db.names = namesComing
		db.settle()
	}
	if db.names == namesDurable || !db.settled() {
		return nil
	}
	if err := db.syncDir(db.dir); err != nil {
		return err
	}
	db.names = namesDurable
	return nil
}

// settle waits, for a bounded time, until Badger has made tables of the older logs. Badger deletes
// a log without a sync of the name of the table, and needs the room on the disk that was just
// found free; so both are over soon.
func (db *DB) settle() {
	for range settleLooks {
		if db.settled() {
			return
		}
		time.Sleep(settleEvery)
	}
}

// settled reports whether Badger has made tables of the older logs.
func (db *DB) settled() bool {
	ids, err := logIDs(db.dir)
	return err == nil && len(ids) == 1
}

// Close closes the database. Badger turns the log into a table then; if the disk has no room for
// that, Close leaves the files as they are, as a killed process does. Nothing is lost.
func (db *DB) Close() error {
	db.writing.Lock()
	defer db.writing.Unlock()
	var err error
	if db.DB != nil && db.log != nil {
		err = db.space.free(db.log.filled + slack)
	}
	if db.DB != nil && err == nil {
		err = db.DB.Close()
		db.space.restore(true)
	}
	if db.log != nil {
		db.log.close()
		db.log = nil
	}
	if db.mark != nil {
		db.mark.close()
	}
	return err
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

// Write calls fn with a transaction and commits the transaction durably. It returns an error that
// wraps diskspace.ErrFull if the write could find no room on the disk, and an error that wraps
// ErrUnknown if the write may have happened. After any other error nothing was written.
func (db *DB) Write(fn func(txn *badger.Txn) error) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	if db.log == nil {
		return badger.ErrDBClosed
	}
	if db.broken != nil {
		return fmt.Errorf("%w; restart the process", db.broken)
	}
	if err := db.finish(); err != nil {
		return fmt.Errorf("the write before is not finished: %w", err)
	}
	if err := db.space.check(db.log.filled); err != nil {
		return err
	}
	if err := db.commit(fn); err != nil {
		return err
	}
	db.unfinished = true
	if err := db.finish(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// commit runs fn in a transaction, with the number of the write. If Badger itself fails, only the
// log can say what happened, and only a restart reads the log.
func (db *DB) commit(fn func(txn *badger.Txn) error) error {
	ready := false
	err := db.update(func(txn *badger.Txn) error {
		if err := fn(txn); err != nil {
			return err
		}
		if db.mark != nil {
			if err := Put(txn, countKey, binary.BigEndian.AppendUint64(nil, db.count+1)); err != nil {
				return err
			}
		}
		ready = true
		return nil
	})
	if err == nil || !ready || errors.Is(err, badger.ErrDBClosed) {
		return err
	}
	db.broken = fmt.Errorf("%w: %w", ErrUnknown, err)
	return db.broken
}

// finish makes the last committed write durable for good, and raises the mark, unless that is done.
func (db *DB) finish() error {
	if db.unfinished {
		if err := db.readOn(); err != nil {
			return err
		}
	}
	if err := db.syncNames(); err != nil {
		return err
	}
	if !db.unfinished {
		return nil
	}
	db.space.restore(false)
	if db.mark != nil {
		if db.log.last != db.count+1 {
			return fmt.Errorf("%w: write %d is not in %s; restart the process, and restore the directory from a backup"+
				" if that does not help", ErrCorrupt, db.count+1, logName(db.log.id))
		}
		if err := db.mark.raise(db.count + 1); err != nil {
			return err
		}
		db.count++
	}
	db.unfinished = false
	return nil
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
	return checked(item.Key(), stored)
}

// checked returns the value in a stored value.
func checked(key, stored []byte) ([]byte, error) {
	if len(stored) < 8 || binary.BigEndian.Uint64(stored) != xxhash.Sum64(stored[8:]) {
		return nil, fmt.Errorf("%w: checksum of %q", ErrCorrupt, key)
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
