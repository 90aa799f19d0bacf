package embeddb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/dgraph-io/badger/v4"

	"banyan/internal/atomicfile"
)

// ErrBehind is wrapped if a database has fewer writes than were acknowledged, or if the
// database cannot say.
var ErrBehind = errors.New("acknowledged writes are missing")

// BehindError describes the writes that are missing in a database.
type BehindError struct {
	Dir string
	// Held is the number of the last write before the first one that is missing.
	Held uint64
	// Acknowledged is the number of the newest write that was acknowledged.
	Acknowledged uint64
	// Missing is the number of missing writes; 0 if nobody can say.
	Missing uint64
	// Why says what is damaged.
	Why string
}

func (e *BehindError) Error() string {
	if e.Held == 0 && e.Missing == 0 {
		return fmt.Sprintf("%s: %s: %s", ErrBehind, e.Dir, e.Why)
	}
	if e.Missing == 0 {
		return fmt.Sprintf("%s: %s: the database holds write %d: %s", ErrBehind, e.Dir, e.Held, e.Why)
	}
	return fmt.Sprintf("%s: %s: writes lost after write %d: %d; write %d was acknowledged: %s",
		ErrBehind, e.Dir, e.Held, e.Missing, e.Acknowledged, e.Why)
}

func (e *BehindError) Unwrap() error { return ErrBehind }

// countKey is the key of the number of the newest write in a database with a mark.
var countKey = []byte("\x00count")

// decodeCount decodes a value that Put stored under countKey.
func decodeCount(stored []byte) (uint64, error) {
	v, err := checked(countKey, stored)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: a count of %d bytes", ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func readCount(txn *badger.Txn) (uint64, error) {
	item, err := txn.Get(countKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	stored, err := item.ValueCopy(nil)
	if err != nil {
		return 0, err
	}
	return decodeCount(stored)
}

// The mark is a file with two slots. Each holds a number and a checksum. A write replaces the
// slot with the smaller number, so that a torn write leaves the other slot.
const (
	markName = "MARK"
	slotSize = 16
	// slotStep is the distance of the slots, so that they do not share a sector of the disk.
	slotStep = 4096
)

// mark is the number of the newest acknowledged write, in a file apart from the database. It is
// raised after the write is durable in the database, so it is never ahead of the database.
type mark struct {
	f    *os.File
	n    uint64
	slot int64 // the slot that the next raise writes
}

// openMark opens the mark in dir. It returns fs.ErrNotExist if there is none.
func openMark(dir string) (*mark, error) {
	f, err := os.OpenFile(filepath.Join(dir, markName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	content := make([]byte, slotStep+slotSize)
	if _, err := f.ReadAt(content, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s: %s", ErrCorrupt, f.Name(), err)
	}
	n, slot, err := decodeMark(content)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return &mark{f: f, n: n, slot: slot}, nil
}

// decodeMark returns the number in the content of a mark, and the slot to write next.
func decodeMark(content []byte) (n uint64, slot int64, err error) {
	valid := false
	for i := range int64(2) {
		at := i * slotStep
		if int64(len(content)) < at+slotSize {
			break
		}
		s := content[at : at+slotSize]
		held := binary.BigEndian.Uint64(s)
		if binary.BigEndian.Uint64(s[8:]) != xxhash.Sum64(s[:8]) {
			continue
		}
		if !valid || held > n {
			n = held
			slot = 1 - i
		}
		valid = true
	}
	if !valid {
		return 0, 0, fmt.Errorf("%w: both copies of the mark are damaged", ErrCorrupt)
	}
	return n, slot, nil
}

// createMark replaces the mark in dir by one with the number n.
func createMark(dir string, n uint64) error {
	content := make([]byte, slotStep+slotSize)
	for i := range 2 {
		copy(content[i*slotStep:], encodeSlot(n))
	}
	return atomicfile.Write(filepath.Join(dir, markName), content, 0o600)
}

func encodeSlot(n uint64) []byte {
	s := binary.BigEndian.AppendUint64(make([]byte, 0, slotSize), n)
	return binary.BigEndian.AppendUint64(s, xxhash.Sum64(s))
}

// raise sets the mark to n, durably.
func (m *mark) raise(n uint64) error {
	if _, err := m.f.WriteAt(encodeSlot(n), m.slot*slotStep); err != nil {
		return fmt.Errorf("raise the mark: %w", err)
	}
	if err := atomicfile.SyncData(m.f); err != nil {
		return fmt.Errorf("raise the mark: %w", err)
	}
	m.n = n
	m.slot = 1 - m.slot
	return nil
}

func (m *mark) close() error { return m.f.Close() }

// checkLogs compares the logs in dir with the mark before Badger opens them: Badger cuts a log
// at the first damaged entry, so that nothing is left to repair. Without writes in the logs,
// only the tables know.
func checkLogs(dir string, m *mark, l logs) error {
	switch {
	case l.gap != nil:
		return &BehindError{
			Dir:          dir,
			Held:         l.gap.after,
			Acknowledged: max(m.n, l.last),
			Missing:      l.gap.missing,
			Why:          "a log is damaged before " + l.gap.before,
		}
	case l.last != 0 && l.last < m.n:
		return behind(dir, l.last, m.n, "a log is damaged at its end, or cut")
	}
	return nil
}

// behind returns the error for a database that ends with write held.
func behind(dir string, held, acknowledged uint64, why string) error {
	return &BehindError{
		Dir:          dir,
		Held:         held,
		Acknowledged: acknowledged,
		Missing:      acknowledged - held,
		Why:          why,
	}
}

// AcceptLoss opens the database in dir although acknowledged writes are missing, and gives the
// missing writes up: later writes take their numbers. The logs are copied first, for a later
// look; saved is the directory of the copies.
func AcceptLoss(dir string, o Options) (saved string, err error) {
	saved = filepath.Join(dir, "lost-"+time.Now().UTC().Format("20060102T150405Z"))
	if err := saveLogs(dir, saved); err != nil {
		return "", err
	}
	o.Mark = false
	db, err := Open(dir, o)
	if err != nil {
		return saved, err
	}
	var n uint64
	err = db.View(func(txn *badger.Txn) (err error) {
		n, err = readCount(txn)
		return err
	})
	if closed := db.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return saved, err
	}
	return saved, createMark(dir, n)
}

// saveLogs copies the logs in dir to the new directory to.
func saveLogs(dir, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	ids, err := logIDs(dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		content, err := os.ReadFile(filepath.Join(dir, logName(id)))
		if err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(to, logName(id)), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// openMarkFor opens the mark of the database in dir. The mark of a new database is made first,
// before the first write.
func openMarkFor(dir string) (*mark, error) {
	m, err := openMark(dir)
	if errors.Is(err, ErrCorrupt) {
		return nil, &BehindError{Dir: dir, Why: "the file " + markName + " is damaged, so nobody can say how many writes follow"}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	_, err = os.Stat(filepath.Join(dir, badger.ManifestFilename))
	if err == nil {
		return nil, &BehindError{Dir: dir, Why: "the file " + markName + " is gone, so nobody can say how many writes follow"}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := createMark(dir, 0); err != nil {
		return nil, err
	}
	return openMark(dir)
}
