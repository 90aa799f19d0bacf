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
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// inspect checks the files of a database before Badger opens it. deep means that each block of
// each table is read and checked.
func inspect(dir string, deep bool) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer d.Close() // releases the lock, which Badger takes next
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return inUse(dir)
	}
	if err := checkFiles(dir, deep); err != nil {
		return err
	}
	return removeEmpty(dir)
}

func inUse(dir string) error {
	return fmt.Errorf("%w: %s; stop the other process or choose another directory", ErrInUse, dir)
}

// checkFiles finds damaged tables that would make Badger panic in a goroutine of its own, where
// the caller cannot recover. It checks the tables in the MANIFEST. Other tables were being
// written when a process died, and Badger deletes them.
func checkFiles(dir string, deep bool) error {
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
		// Badger would ignore the torn part, and delete the tables named there.
		err = fmt.Errorf("%d of its %d bytes are torn", info.Size()-whole, info.Size())
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %s; restore the directory from a backup",
			ErrCorrupt, f.Name(), firstLine(err.Error()))
	}
	for id := range manifest.Tables {
		path := table.NewFilename(id, dir)
		if err := checkTable(path, deep); err != nil {
			return fmt.Errorf("%w: %s: %s; restore the directory from a backup", ErrCorrupt, path, err)
		}
	}
	return nil
}

// removeEmpty deletes empty log files. A process that is killed between making a log file and
// setting the size leaves an empty file, and Badger does not open a database with an empty log.
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

// checkNew refuses a directory that has tables and no MANIFEST. Badger would take the directory
// for a new database and delete the tables.
func checkNew(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err == nil && len(tables) > 0 {
		err = fmt.Errorf("%w: %s has %d tables and no MANIFEST; restore the directory from a backup",
			ErrCorrupt, dir, len(tables))
	}
	return err
}

// checkTable checks the index of a table. It reads the table from its end, as Badger does: the
// length of the checksum, the checksum, the length of the index, the index. deep means that the
// blocks are checked, too: a damaged key would be a silent loss.
func checkTable(path string, deep bool) error {
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
			return nil, errors.New("the file is too short")
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
		return errors.New("the footer is damaged")
	}
	if n, err = backLength(); err != nil {
		return err
	}
	index, err := back(n)
	if err != nil {
		return err
	}
	if err := y.VerifyChecksum(index, &sum); err != nil || !deep {
		return err
	}
	return checkBlocks(f, fb.GetRootAsTableIndex(index, 0))
}

// checkBlocks checks every block of a table. A block ends with a checksum of all before it, and
// the length of the checksum.
func checkBlocks(f *os.File, index *fb.TableIndex) error {
	var at fb.BlockOffset
	for i := range index.OffsetsLength() {
		if !index.Offsets(&at, i) {
			return fmt.Errorf("the index lacks block %d", i)
		}
		block := make([]byte, at.Len())
		if _, err := f.ReadAt(block, int64(at.Offset())); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		if err := checkBlock(block); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

func checkBlock(block []byte) error {
	end := len(block) - 4
	if end < 0 {
		return errors.New("the block is too short")
	}
	start := end - int(binary.BigEndian.Uint32(block[end:]))
	if start < 0 || start > end {
		return errors.New("the checksum is damaged")
	}
	var sum pb.Checksum
	if err := proto.Unmarshal(block[start:end], &sum); err != nil {
		return errors.New("the checksum is damaged")
	}
	return y.VerifyChecksum(block[:start], &sum)
}
