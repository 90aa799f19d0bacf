package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"banyan/record"
)

// errChanged is wrapped if somebody writes to a file while the file is verified.
var errChanged = errors.New("the file changed while it was read")

// stamp identifies the content of a file without reading the content. Any write to the file
// and any replacement of the file changes the stamp, because no program can set the time of
// the last change (ctime).
type stamp struct {
	inode    uint64
	size     int64
	modified syscall.Timespec
	changed  syscall.Timespec
}

// stampOf returns the stamp of a file. The zero stamp, of a file system without inodes, is
// equal to no other stamp of verifiedFiles.
func stampOf(info fs.FileInfo) stamp {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}
	}
	return stamp{inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}

// isSettled reports whether a write after the moment at would change the stamp. The clock of a
// file system has ticks: two writes within one tick leave the same stamp.
func (s stamp) isSettled(at time.Time) bool {
	return s != stamp{} && at.Sub(time.Unix(s.changed.Unix())) >= clockTick
}

// verifiedFiles remembers the stamps of files with a verified content. A file is read again
// only if the stamp differs. The memory is empty after a start of the agent, so every file is
// verified once more before it is shown. verifiedFiles is safe for concurrent use.
type verifiedFiles struct {
	mu    sync.Mutex
	files map[string]verifiedFile // by path; guarded by mu
}

type verifiedFile struct {
	stamp  stamp
	digest record.Digest
}

func newVerifiedFiles() *verifiedFiles {
	return &verifiedFiles{files: map[string]verifiedFile{}}
}

// add remembers a file that had the given content and stamp at the moment at.
func (v *verifiedFiles) add(path string, s stamp, digest record.Digest, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !s.isSettled(at) {
		delete(v.files, path) // the next check reads the file again
		return
	}
	if _, known := v.files[path]; !known && len(v.files) >= maxVerified {
		for other := range v.files {
			delete(v.files, other) // an arbitrary file, to be read again
			break
		}
	}
	v.files[path] = verifiedFile{s, digest}
}

// forget forgets the file path.
func (v *verifiedFiles) forget(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, path)
}

func (v *verifiedFiles) knows(path string, s stamp, digest record.Digest) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.files[path] == verifiedFile{s, digest}
}

// open opens the file path after it has verified the content. The error wraps
// record.ErrChecksum if the content has another size or digest.
func (v *verifiedFiles) open(path string, size int64, digest record.Digest) (*os.File, stamp, error) {
	f, err := openRegular(path, syscall.O_NOFOLLOW)
	if err != nil {
		return nil, stamp{}, err
	}
	s, err := v.check(f, path, size, digest)
	if err != nil {
		f.Close()
		return nil, stamp{}, err
	}
	return f, s, nil
}

// check verifies the content of the open file f, which is remembered as path. It returns the
// stamp of the verified content.
func (v *verifiedFiles) check(f *os.File, path string, size int64, digest record.Digest) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	before := stampOf(info)
	if v.knows(path, before, digest) {
		return before, nil
	}
	v.forget(path)
	if info.Size() != size {
		return stamp{}, fmt.Errorf("%s has %d bytes, not %d: %w", path, info.Size(), size, record.ErrChecksum)
	}
	at := time.Now()
	sum, err := record.SumReader(io.NewSectionReader(f, 0, size))
	if err != nil {
		return stamp{}, err
	}
	if sum != digest {
		return stamp{}, fmt.Errorf("%s: %w", path, record.ErrChecksum)
	}
	if info, err = f.Stat(); err != nil {
		return stamp{}, err
	}
	if stampOf(info) != before {
		return stamp{}, fmt.Errorf("%s: %w", path, errChanged)
	}
	v.add(path, before, digest, at)
	return before, nil
}

// openRegular opens a regular file. It does not wait for the writer of a pipe with that name.
func openRegular(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
