package atomicfile

import (
	"os"
	"syscall"
)

// SyncData makes the content of f durable. The size and the blocks of f were durable before.
func SyncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
