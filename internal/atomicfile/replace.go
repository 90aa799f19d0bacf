package atomicfile

import "os"

// replaceDir is ReplaceDir for file systems that cannot exchange names. For a moment there is
// nothing at to.
func replaceDir(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}
