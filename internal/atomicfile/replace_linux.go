package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ReplaceDir moves the directory from to the path to, and deletes the old directory
// there. If the file system can exchange names, readers find the old or the new directory at
// every moment.
func ReplaceDir(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		return os.RemoveAll(from) // from is now the name of the old directory
	case errors.Is(err, unix.ENOENT):
		return os.Rename(from, to)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return replaceDir(from, to)
	}
	return &os.LinkError{Op: "exchange", Old: from, New: to, Err: err}
}
