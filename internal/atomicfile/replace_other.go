//go:build !linux

package atomicfile

// ReplaceDir moves the directory from to the path to, and deletes the old directory
// there.
func ReplaceDir(from, to string) error { return replaceDir(from, to) }
