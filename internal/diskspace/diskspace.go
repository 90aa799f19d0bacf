// Package diskspace refuses writes before a disk is full. A memory-mapped write to a full disk
// is no error but a SIGBUS, which ends the process, so the space must be checked before.
//
// Entry points: [Check] and [Allocate].
package diskspace

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrFull is wrapped if a write would leave too few bytes free.
var ErrFull = errors.New("disk is full")

// Check returns an error that wraps ErrFull if a write of need bytes would leave fewer than
// reserve bytes free on the file system of dir.
func Check(dir string, need, reserve int64) error {
	free, err := Free(dir)
	if err != nil {
		return err
	}
	if free < need+reserve {
		return fmt.Errorf("%w: %s has %d MiB free, and %d MiB are needed; delete files or move the directory",
			ErrFull, dir, free>>20, (need+reserve)>>20)
	}
	return nil
}

// Free returns the number of bytes that may be written to the file system of dir.
func Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("check free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Allocated returns the number of bytes of the disk that f uses.
func Allocated(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return s.Blocks * 512
}
