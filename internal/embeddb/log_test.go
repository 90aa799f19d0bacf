package embeddb

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// put writes the keys k1 to kn, a write each.
func put(t *testing.T, db *DB, n int, value []byte) {
	t.Helper()
	for i := range n {
		err := db.Write(func(txn *badger.Txn) error { return Put(txn, fmt.Appendf(nil, "k%d", i+1), value) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Every file that a write needs has a durable name when the write returns. Badger itself makes
// a new log without a sync of the directory.
func TestTruthTheDirectoryIsSyncedAfterANewLog(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{MemTable: 1 << 20, Mark: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	durable := logsIn(t, dir)
	db.syncDir = func(dir string) error {
		durable = logsIn(t, dir)
		return nil
	}
	first := durable[len(durable)-1]
	for range 30 {
		put(t, db, 1, make([]byte, 100<<10))
		for _, name := range logsIn(t, dir) {
			if !slices.Contains(durable, name) {
				t.Fatalf("a write returned while the name of %s was not durable", name)
			}
		}
	}
	if last := durable[len(durable)-1]; last == first {
		t.Error("no new log was made")
	}
}

func logsIn(t *testing.T, dir string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// The reader finds in a log what Badger finds: all writes up to the first damaged entry.
func TestTheReaderOfLogsFollowsBadger(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{MemTable: 1 << 20, Mark: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put(t, db, 20, []byte("value"))
	if db.log.last != 20 || db.log.filled <= db.log.end {
		t.Errorf("after 20 writes the log ends with write %d at %d, filled %d", db.log.last, db.log.end, db.log.filled)
	}
	l, err := readLogs(dir)
	if err != nil || l.first != 1 || l.last != 20 || l.gap != nil {
		t.Errorf("logs %+v, %v", l, err)
	}
}

func TestAHoleBetweenTwoLogsIsFound(t *testing.T) {
	var all logs
	for id, held := range [][2]uint64{{1, 10}, {11, 15}, {0, 0}, {19, 30}} {
		all.add(&logReader{f: os.Stdin, id: id, first: held[0], last: held[1]})
	}
	if all.gap == nil || all.gap.after != 15 || all.gap.missing != 3 {
		t.Errorf("gap %+v, want 3 writes after 15", all.gap)
	}
	err := checkLogs("dir", &mark{n: 30}, all)
	if err == nil || !strings.Contains(err.Error(), "writes lost after write 15: 3") {
		t.Errorf("got %v", err)
	}
}

func TestATornMarkKeepsTheNumberBefore(t *testing.T) {
	dir := t.TempDir()
	if err := createMark(dir, 0); err != nil {
		t.Fatal(err)
	}
	m, err := openMark(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(9) {
		if err := m.raise(n + 1); err != nil {
			t.Fatal(err)
		}
	}
	newest := 1 - m.slot
	if _, err := m.f.WriteAt([]byte("torn"), newest*slotStep); err != nil {
		t.Fatal(err)
	}
	m.close()
	m, err = openMark(dir)
	if err != nil || m.n != 8 || m.slot != newest {
		t.Errorf("mark %+v, %v; want number 8, and the torn slot next", m, err)
	}
}

func FuzzDecodeMark(f *testing.F) {
	f.Add(append(encodeSlot(7), make([]byte, slotStep)...))
	f.Fuzz(func(t *testing.T, b []byte) { decodeMark(b) })
}

func FuzzReadTransaction(f *testing.F) {
	dir := f.TempDir()
	db, err := Open(dir, Options{MemTable: 1 << 20, Mark: true})
	if err != nil {
		f.Fatal(err)
	}
	defer db.Close()
	err = db.Write(func(txn *badger.Txn) error { return Put(txn, []byte("k"), []byte("v")) })
	if err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(db.log.f.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content[logHeader:db.log.end])
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, size, err := readTransaction(bufio.NewReader(bytes.NewReader(b)), int64(len(b)))
		if err == nil && (size > int64(len(b)) || len(entries) > len(b)) {
			t.Errorf("%d entries of %d bytes in %d bytes", len(entries), size, len(b))
		}
	})
}

func FuzzCheckBlock(f *testing.F) {
	f.Add([]byte("a block"))
	f.Fuzz(func(t *testing.T, b []byte) { checkBlock(b) })
}
