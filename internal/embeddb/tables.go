package embeddb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// inspect looks through the files of a database that no process has open.
func inspect(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer d.Close() // gives up the lock, which Badger then takes itself
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return inUse(dir)
	}
	if err := checkFiles(dir); err != nil {
		return err
	}
	return removeEmpty(dir)
}

func inUse(dir string) error {
	return fmt.Errorf("%w: %s; stop the other process or choose another directory", ErrInUse, dir)
}

// checkFiles finds tables that are cut short or damaged where Badger would
// answer with a panic in a goroutine of its own, which nobody can recover. It
// looks at the tables that the MANIFEST names: others were being written when a
// process died, and Badger removes them.
func checkFiles(dir string) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return checkNew(dir)
	}
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	manifest, whole, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err == nil && whole != info.Size() {
		// Badger would forget what the torn part says, and delete the tables it names.
		err = fmt.Errorf("%d of its %d bytes are torn", info.Size()-whole, info.Size())
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %s; restore the directory from a backup", ErrCorrupt, f.Name(), firstLine(err.Error()))
	}
	for id := range manifest.Tables {
		path := table.NewFilename(id, dir)
		if err := checkTable(path); err != nil {
			return fmt.Errorf("%w: %s: %s; restore the directory from a backup", ErrCorrupt, path, err)
		}
	}
	return nil
}

// removeEmpty removes log files of no length: a process that was killed between
// making one and sizing it leaves it so, and Badger refuses to open beside it.
// They hold nothing.
func removeEmpty(dir string) error {
	for _, pattern := range []string{"*.vlog", "*.mem"} {
		logs, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range logs {
			info, err := os.Stat(path)
			if err == nil && info.Size() == 0 {
				err = os.Remove(path)
			}
			if err != nil {
				return fmt.Errorf("open database: %w", err)
			}
		}
	}
	return nil
}

// checkNew refuses a directory that has tables and no MANIFEST: Badger would take
// it for a new one and delete them.
func checkNew(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err == nil && len(tables) > 0 {
		err = fmt.Errorf("%w: %s has %d tables and no MANIFEST; restore the directory from a backup", ErrCorrupt, dir, len(tables))
	}
	return err
}

// checkTable reads a table from its end, as Badger does: the length of a
// checksum, the checksum, the length of the index, the index it is of.
func checkTable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	back := func(n int64) ([]byte, error) {
		if n < 0 || n > end {
			return nil, errors.New("it is cut short")
		}
		b := make([]byte, n)
		end -= n
		_, err := f.ReadAt(b, end)
		return b, err
	}
	backLength := func() (int64, error) {
		b, err := back(4)
		if err != nil {
			return 0, err
		}
		return int64(binary.BigEndian.Uint32(b)), nil
	}
	n, err := backLength()
	if err != nil {
		return err
	}
	encoded, err := back(n)
	if err != nil {
		return err
	}
	var sum pb.Checksum
	if err := proto.Unmarshal(encoded, &sum); err != nil {
		return errors.New("its footer is damaged")
	}
	if n, err = backLength(); err != nil {
		return err
	}
	index, err := back(n)
	if err != nil {
		return err
	}
	return y.VerifyChecksum(index, &sum)
}
