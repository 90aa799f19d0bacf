package atomicfile

import "os"

// replaceDir is ReplaceDir where names can't be exchanged: for a moment nothing is there.
func replaceDir(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}
