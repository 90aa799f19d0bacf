package embeddb

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banyan/internal/diskspace"
)

const (
	ballastName = "ballast"
	// ballastEvery is the minimum time between two attempts to make the ballast.
	ballastEvery = time.Minute
	// slack is the number of bytes that the ballast leaves free.
	slack = 1 << 20
)

// space keeps room on the disk for a database. The log that is being written has its blocks
// already, so most writes need no free byte. When the log is full, Badger makes new files: a
// log, a table and, behind the scenes, larger tables. That takes at most need bytes, and memory
// mapped writes without room end the process. A file, the ballast, keeps that many bytes from
// others; the database deletes the ballast when it needs the room.
type space struct {
	dir   string
	table int64 // size of a memtable
	need  int64 // bytes that must be free before new files are made
	owned bool  // the log that is being written has its blocks

	ballast bool      // the ballast is there
	tried   time.Time // when the ballast was last tried
}

// logBytes is the size to which a log can grow: Badger replaces a log after the write that
// fills the memtable, and a write is at most 15% of a memtable.
func (s *space) logBytes() int64 { return s.table * 5 / 4 }

// MinReserve returns the least number of bytes for Options.Reserve with which room is kept for a
// database with a memtable of the given size; 0 means the default size.
func MinReserve(memTable int64) int64 {
	s := space{table: cmp.Or(memTable, defaultMemTable)}
	return 2 * s.logBytes()
}

// reserves reports whether room is kept at all. A database with a tiny reserve keeps none.
func (s *space) reserves() bool { return s.need >= MinReserve(s.table) }

// open makes room for opening a database whose logs are l: Badger turns the logs into tables,
// and begins a new log.
func (s *space) open(l logs) error {
	if !s.reserves() {
		return diskspace.Check(s.dir, 0, s.need)
	}
	unused := max(l.allocated-l.bytes, 0) // blocks that Badger gives back when it cuts the logs
	return s.free(max(l.bytes+s.logBytes()+slack-unused, slack))
}

// adopt gives the log that is being written its blocks.
func (s *space) adopt(l *logReader) {
	s.owned = false
	if !s.reserves() {
		return
	}
	f, err := os.OpenFile(l.f.Name(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	s.owned = diskspace.Allocate(f, s.logBytes()) == nil
}

// check returns an error that wraps diskspace.ErrFull if the next write could find no room.
// filled is an upper bound of the bytes in the memtable.
func (s *space) check(filled int64) error {
	if s.owned && filled < s.table {
		return nil
	}
	return s.free(s.need)
}

// free returns an error that wraps diskspace.ErrFull if fewer than need bytes are free, after
// the ballast was deleted.
func (s *space) free(need int64) error {
	err := diskspace.Check(s.dir, 0, need)
	if !errors.Is(err, diskspace.ErrFull) || !s.release() {
		return err
	}
	return diskspace.Check(s.dir, 0, need)
}

// release deletes the ballast and reports whether there was one.
func (s *space) release() bool {
	err := os.Remove(filepath.Join(s.dir, ballastName))
	s.ballast = false
	s.tried = time.Now()
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}

// restore makes the ballast again if there is room for it and for new files. whatever means
// that a smaller ballast will do: the database is being closed, and the next start needs room.
func (s *space) restore(whatever bool) {
	if s.ballast || !s.reserves() || (!whatever && time.Since(s.tried) < ballastEvery) {
		return
	}
	s.tried = time.Now()
	free, err := diskspace.Free(s.dir)
	if err != nil {
		return
	}
	size := s.need
	if whatever {
		size = min(size, free-slack)
	} else if free < s.need+size+slack {
		return
	}
	if size < slack {
		return
	}
	s.ballast = s.make(size) == nil
}

// make gives the ballast size bytes. If that fails, the ballast stays as large as it was.
func (s *space) make(size int64) error {
	path := filepath.Join(s.dir, ballastName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = diskspace.Allocate(f, size)
	if err != nil {
		f.Truncate(info.Size())
	}
	return err
}
