//go:build !linux

package diskspace

import (
	"errors"
	"os"
)

// Allocate gives f at least size bytes of the disk. It is not possible on this system.
func Allocate(*os.File, int64) error { return errors.ErrUnsupported }
