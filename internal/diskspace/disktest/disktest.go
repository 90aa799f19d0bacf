// Package disktest gives tests small disks, and fills them.
package disktest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"banyan/internal/diskspace"
)

// Mount mounts a file system in memory at dir until the end of the test. size is in the form of
// mount, such as "48m". The test is skipped without the right to mount.
func Mount(t testing.TB, dir, size string) {
	t.Helper()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Skipf("no right to mount a small file system: %s", out)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// Fill appends to the file path until no byte of the disk of dir is free.
func Fill(t testing.TB, dir, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if free, err := diskspace.Free(dir); err != nil || free > 0 {
		t.Fatalf("%d bytes are still free, %v", free, err)
	}
}
