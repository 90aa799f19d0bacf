package embeddb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/dgraph-io/badger/v4/y"

	"banyan/internal/diskspace"
)

// The format of Badger's write-ahead logs: a header of logHeader bytes, then entries. An entry
// has two bytes of flags, three varints (length of the key, length of the value, expiry), the
// key with a timestamp of 8 bytes, the value, and a CRC-32C of all of that. The entries of a
// transaction follow each other, and an entry with the flag flagEnd ends the transaction.
const (
	logHeader = 20
	flagPart  = 1 << 6
	flagEnd   = 1 << 7
	// maxLogKey is the maximum length of a key in a log.
	maxLogKey = 1 << 16
)

// errLogEnd means that no whole transaction follows in a log.
var errLogEnd = errors.New("end of the log")

// logEntry is an entry of a log. The key has no timestamp.
type logEntry struct {
	flags byte
	key   []byte
	value []byte
	size  int64 // of the entry in the log, in bytes
}

// readLogEntry reads one entry, which is at most limit bytes long.
func readLogEntry(r *bufio.Reader, limit int64) (logEntry, error) {
	sum := crc32.New(y.CastagnoliCrcTable)
	in := &hashedReader{r: r, sum: sum}
	var flags [2]byte
	if _, err := io.ReadFull(in, flags[:]); err != nil {
		return logEntry{}, errLogEnd
	}
	var lengths [3]uint64
	for i := range lengths {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return logEntry{}, errLogEnd
		}
		lengths[i] = n
	}
	keySize, valueSize := lengths[0], lengths[1]
	if keySize < 8 || keySize > maxLogKey || valueSize > uint64(limit) {
		return logEntry{}, errLogEnd
	}
	content := make([]byte, keySize+valueSize)
	if _, err := io.ReadFull(in, content); err != nil {
		return logEntry{}, errLogEnd
	}
	var stored [crc32.Size]byte
	if _, err := io.ReadFull(r, stored[:]); err != nil {
		return logEntry{}, errLogEnd
	}
	if binary.BigEndian.Uint32(stored[:]) != sum.Sum32() {
		return logEntry{}, errLogEnd
	}
	return logEntry{
		flags: flags[0],
		key:   content[:keySize-8],
		value: content[keySize:],
		size:  in.n + crc32.Size,
	}, nil
}

// hashedReader counts and hashes the bytes that are read.
type hashedReader struct {
	r   *bufio.Reader
	sum io.Writer
	n   int64
}

func (h *hashedReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	h.n += int64(n)
	return n, err
}

func (h *hashedReader) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err == nil {
		h.sum.Write([]byte{b})
		h.n++
	}
	return b, err
}

// readTransaction reads the entries of one transaction, without the entry that ends the
// transaction. size is the size of the transaction in the log.
func readTransaction(r *bufio.Reader, limit int64) (entries []logEntry, size int64, err error) {
	for {
		e, err := readLogEntry(r, limit-size)
		if err != nil {
			return nil, 0, err
		}
		size += e.size
		switch {
		case e.flags&flagEnd != 0:
			return entries, size, nil
		case e.flags&flagPart == 0 && len(entries) > 0:
			return nil, 0, errLogEnd
		}
		entries = append(entries, e)
		if e.flags&flagPart == 0 {
			return entries, size, nil
		}
	}
}

// logReader follows a log of Badger: it reads what was appended since the last read.
type logReader struct {
	f      *os.File
	id     int
	end    int64 // after the last whole transaction
	filled int64 // upper bound of the size of the memtable of the log, in bytes
	first  uint64
	last   uint64 // numbers of the first and the last write in the log; 0 if there are none
	gap    *gap   // the first hole in the numbers of the writes; nil if there is none
}

// nodeSize is an upper bound of the memory that Badger's memtable needs for an entry in
// addition to the size of the entry in the log.
const nodeSize = 128

func openLog(dir string, id int) (*logReader, error) {
	f, err := os.Open(filepath.Join(dir, logName(id)))
	if err != nil {
		return nil, err
	}
	return &logReader{f: f, id: id, end: logHeader}, nil
}

func logName(id int) string { return fmt.Sprintf("%05d.mem", id) }

// logIDs returns the numbers of the logs in dir, in order.
func logIDs(dir string) ([]int, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, path := range paths {
		name := filepath.Base(path)
		id, err := strconv.Atoi(name[:len(name)-len(".mem")])
		if err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// advance reads the transactions that were appended, and reports whether there were any.
func (l *logReader) advance() (bool, error) {
	info, err := l.f.Stat()
	if err != nil {
		return false, err
	}
	before := l.end
	left := info.Size() - l.end
	r := bufio.NewReader(io.NewSectionReader(l.f, l.end, left))
	for left > 0 {
		entries, size, err := readTransaction(r, left)
		if err != nil {
			break
		}
		left -= size
		l.end += size
		l.filled += size + int64(len(entries)+1)*nodeSize
		for _, e := range entries {
			l.count(e)
		}
	}
	return l.end > before, nil
}

// count notes the number of a write if e is the entry that holds the number.
func (l *logReader) count(e logEntry) {
	if !bytes.Equal(e.key, countKey) {
		return
	}
	n, err := decodeCount(e.value)
	if err != nil {
		return
	}
	if l.last != 0 && n > l.last+1 && l.gap == nil {
		l.gap = newGap(l.last, n, l.id)
	}
	if l.first == 0 {
		l.first = n
	}
	l.last = n
}

func (l *logReader) close() error { return l.f.Close() }

// gap is a hole in the numbers of the writes.
type gap struct {
	after   uint64 // the last write before the hole
	missing uint64 // the number of writes in the hole
	before  string // the log that holds the first write after the hole
}

func newGap(last, next uint64, id int) *gap {
	return &gap{after: last, missing: next - last - 1, before: logName(id)}
}

// logs is what the logs in a directory hold.
type logs struct {
	first, last uint64 // numbers of the writes; 0 if there are none
	bytes       int64  // of whole transactions
	allocated   int64  // bytes on disk
	gap         *gap   // the first hole in the numbers; nil if there is none
}

// readLogs reads all logs in dir.
func readLogs(dir string) (logs, error) {
	var all logs
	ids, err := logIDs(dir)
	if err != nil {
		return all, err
	}
	for _, id := range ids {
		l, err := openLog(dir, id)
		if err != nil {
			return all, err
		}
		_, err = l.advance()
		all.add(l)
		l.close()
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// add adds the next log.
func (s *logs) add(l *logReader) {
	s.bytes += l.end
	s.allocated += diskspace.Allocated(l.f)
	if s.gap == nil {
		s.gap = l.gap
	}
	if l.last == 0 {
		return
	}
	if s.last != 0 && l.first > s.last+1 && s.gap == nil {
		s.gap = newGap(s.last, l.first, l.id)
	}
	if s.first == 0 {
		s.first = l.first
	}
	s.last = max(s.last, l.last)
}
