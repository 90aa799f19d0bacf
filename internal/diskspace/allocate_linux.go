package diskspace

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Allocate gives f at least size bytes of the disk, so that writes within size cannot fail for
// want of space. The error wraps ErrFull if the disk has too little room.
func Allocate(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: no %d MiB for %s", ErrFull, size>>20, f.Name())
	}
	if err != nil {
		return fmt.Errorf("allocate %s: %w", f.Name(), err)
	}
	return nil
}
