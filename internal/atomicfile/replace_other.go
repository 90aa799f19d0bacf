//go:build !linux

package atomicfile

// ReplaceDir makes the directory from stand at to, and removes what stood there.
func ReplaceDir(from, to string) error { return replaceDir(from, to) }
