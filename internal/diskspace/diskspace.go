// Package diskspace tells how much room a file system has left, and refuses
// writes before there is none: a memory-mapped write to a full disk is a
// SIGBUS, not an error, so the check has to come first.
package diskspace

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrFull is wrapped when less room is left than must stay free.
var ErrFull = errors.New("disk is full")

// Check returns an error that wraps ErrFull if fewer than reserve bytes would
// be free on dir's file system after writing need more.
func Check(dir string, need, reserve int64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("check free space of %s: %w", dir, err)
	}
	free := int64(s.Bavail) * s.Bsize
	if free < need+reserve {
		return fmt.Errorf("%w: %s has %d MiB free; %d MiB must stay free; make room or move it", ErrFull, dir, free>>20, (need+reserve)>>20)
	}
	return nil
}
