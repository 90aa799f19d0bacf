package bench

import (
	"os"

	"banyan/internal/diskspace"
)

// memoryDir is the directory of a file system in memory on Linux.
const memoryDir = "/dev/shm"

// scratch makes the directory of a measurement in dir. If dir is empty, scratch makes the
// directory in memory if there is ample room for need bytes, and otherwise in the system's
// temporary directory. Each host of a real fleet has a disk of its own; if all hosts shared
// one disk here, the measurement would show the disk.
func scratch(dir string, need int64) (path string, inMemory bool, err error) {
	available, _ := procBytes("/proc/meminfo", "MemAvailable") // 0 if the system has no such file
	inMemory = dir == "" && available > 3*need && diskspace.Check(memoryDir, need, need) == nil
	if inMemory {
		dir = memoryDir
	}
	path, err = os.MkdirTemp(dir, "banyan-bench-")
	return path, inMemory, err
}
