package shardstore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"banyan/fec"
	"banyan/internal/diskspace"
	"banyan/record"
)

// directory has the forms on their way, each in a subdirectory.
type directory struct {
	root    string
	reserve int64 // bytes that must stay free on disk
}

// Files in the directory of a form on the way.
const (
	bytesFile = "bytes"
	indexFile = "index" // xxHash64 of the form's index
)

// path returns the directory of a form on the way: the hash of the version's name and
// digest, the number of the version, and the form.
func (d directory) path(key record.FormKey) string {
	name := record.Sum(append([]byte(key.Config), key.Digest[:]...))
	return filepath.Join(d.root, fmt.Sprintf("%x-%d-%d", name[:8], key.Version, key.Form))
}

// open opens the file of a form on the way, and checks that the missing shards fit
// the disk.
func (d directory) open(dir string, form record.Form, index fec.Index) (*fec.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, bytesFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	file, err := fec.NewFile(f, form, index, false)
	if err != nil {
		f.Close()
		return nil, err
	}
	missing := form.Size - int64(file.Have().Count())*int64(form.Geometry.ShardBytes)
	if err := diskspace.Check(dir, max(missing, 0), d.reserve); err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

// prepare makes the directory of a form. It deletes shards of another index.
func (d directory) prepare(dir string, index []byte) error {
	sum := strconv.FormatUint(xxhash.Sum64(index), 16)
	if held, err := os.ReadFile(filepath.Join(dir, indexFile)); err == nil && string(held) == sum {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, indexFile), []byte(sum), 0o600)
}

// prune deletes the directories without a new shard for age. It keeps the
// directories in open.
func (d directory) prune(age time.Duration, open map[string]bool) error {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(d.root, e.Name())
		if open[path] {
			continue
		}
		if info, err := os.Stat(filepath.Join(path, bytesFile)); err == nil && time.Since(info.ModTime()) < age {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// size returns the size of all files in bytes.
func (d directory) size() (bytes int64, err error) {
	err = filepath.WalkDir(d.root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}
