package bench

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"

	"banyan/internal/diskspace"
)

// memoryDir is where Linux mounts a file system that is in memory.
const memoryDir = "/dev/shm"

// scratch makes the directory of a measurement: in dir, or, if that is empty, in
// memory when there is ample room for need bytes, and else where the system has
// temporary files. Hosts of a fleet have a disk each: where all of them share one, and
// the processors that copy to it, what is measured would be that.
func scratch(dir string, need int64) (path string, inMemory bool, err error) {
	if inMemory = dir == "" && memoryAvailable() > 3*need && diskspace.Check(memoryDir, need, need) == nil; inMemory {
		dir = memoryDir
	}
	path, err = os.MkdirTemp(dir, "banyan-bench-")
	return path, inMemory, err
}

// memoryAvailable is how many bytes the system says may be used; 0 if it does not.
func memoryAvailable() int64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		if kib, ok := kilobytes(s.Text(), "MemAvailable:"); ok {
			return kib << 10
		}
	}
	return 0
}

// kilobytes reads a line of /proc that has a name.
func kilobytes(line, name string) (kib int64, ok bool) {
	rest, ok := strings.CutPrefix(line, name)
	if !ok {
		return 0, false
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
	return kib, err == nil
}
