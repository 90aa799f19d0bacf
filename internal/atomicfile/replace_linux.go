package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ReplaceDir makes the directory from stand at to, and removes what stood there. At every
// moment one of the two is found at to, if the file system can exchange names.
func ReplaceDir(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		return os.RemoveAll(from) // what stood at to
	case errors.Is(err, unix.ENOENT):
		return os.Rename(from, to)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return replaceDir(from, to)
	}
	return &os.LinkError{Op: "exchange", Old: from, New: to, Err: err}
}
