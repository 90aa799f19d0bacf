package bench

import (
	"os"

	"banyan/internal/diskspace"
)

// memoryDir is where Linux mounts a file system that is in memory.
const memoryDir = "/dev/shm"

// scratch makes the directory of a measurement: in dir, or, if that is empty, in
// memory when there is ample room for need bytes, and else where the system has
// temporary files. Hosts of a fleet have a disk each: where all of them share one, and
// the processors that copy to it, what is measured would be that.
func scratch(dir string, need int64) (path string, inMemory bool, err error) {
	available, _ := procBytes("/proc/meminfo", "MemAvailable") // 0 where the system does not tell
	if inMemory = dir == "" && available > 3*need && diskspace.Check(memoryDir, need, need) == nil; inMemory {
		dir = memoryDir
	}
	path, err = os.MkdirTemp(dir, "banyan-bench-")
	return path, inMemory, err
}
