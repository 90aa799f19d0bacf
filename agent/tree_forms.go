package agent

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/fec"
	"banyan/record"
)

// partialDir is where bodies on their way are kept: on the disk of the output
// directory, so that a complete one is moved and not copied.
func (t *tree) partialDir() string { return filepath.Join(t.root, partialDir) }

// cacheDir is where shards are kept for others, on the same disk.
func (t *tree) cacheDir() string { return filepath.Join(t.root, cacheDir) }

// formFile is where the bytes of a form are, in the directory of a version.
func formFile(f record.Form, form uint8) string {
	if f.Encoding == record.EncodingIdentity {
		return valueFile
	}
	return "form" + strconv.Itoa(int(form))
}

func indexFile(form uint8) string { return "index" + strconv.Itoa(int(form)) }

// manifest reads the manifest of a version on disk, as it was verified before it came
// there.
func (t *tree) manifest(v record.VersionKey) (record.Manifest, []byte, error) {
	m, err := t.meta(v)
	if err != nil {
		return record.Manifest{}, nil, err
	}
	manifest, err := record.DecodeManifest(m.Manifest)
	return manifest, m.Manifest, err
}

// forms tells which forms of a version on disk can be served, a bit each.
func (t *tree) forms(v record.VersionKey) (set uint8) {
	m, _, err := t.manifest(v)
	if err != nil {
		return 0
	}
	for i, f := range m.Forms {
		if _, err := os.Stat(filepath.Join(t.versionPath(v), formFile(f, uint8(i)))); err == nil {
			set |= 1 << i
		}
	}
	return set
}

// openForm opens a form of a version on disk, with its index: the one that came with
// it, or one made anew.
func (t *tree) openForm(key record.FormKey) (_ *os.File, form record.Form, index fec.Index, err error) {
	m, _, err := t.manifest(key.VersionKey)
	if err != nil {
		return nil, form, nil, err
	}
	if int(key.Form) >= len(m.Forms) {
		return nil, form, nil, fmt.Errorf("%w: form %d of %s version %d", record.ErrInvalid, key.Form, key.Config, key.Version)
	}
	form = m.Forms[key.Form]
	dir := t.versionPath(key.VersionKey)
	f, err := os.Open(filepath.Join(dir, formFile(form, key.Form)))
	if err != nil {
		return nil, form, nil, err
	}
	if raw, readErr := os.ReadFile(filepath.Join(dir, indexFile(key.Form))); readErr == nil {
		index, err = fec.ParseIndex(raw, form)
	} else if index, _, err = fec.BuildIndex(f, form.Size, form.Geometry); err == nil && index.Digest() != form.IndexSHA256 {
		err = fmt.Errorf("%s version %d on disk: %w", key.Config, key.Version, record.ErrChecksum)
	}
	if err != nil {
		f.Close()
	}
	return f, form, index, err
}

// held lists the versions of a config on disk.
func (t *tree) held(config string) (versions []uint64) {
	entries, err := os.ReadDir(t.dir(config))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if v, ok := versionOf(e.Name()); ok {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	slices.Reverse(versions)
	return versions
}

func versionOf(name string) (uint64, bool) {
	number, ok := strings.CutPrefix(name, versionDir)
	v, err := strconv.ParseUint(number, 10, 64)
	return v, ok && err == nil
}

// staged is a version on disk.
type staged struct {
	key   record.VersionKey
	bytes int64
	at    time.Time
}

// all lists the versions of all configs on disk, oldest first.
func (t *tree) all() (found []staged, err error) {
	err = filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == partialDir || d.Name() == cacheDir {
			return fs.SkipDir
		}
		version, ok := versionOf(d.Name())
		if !ok {
			return nil
		}
		config, err := filepath.Rel(t.root, filepath.Dir(path))
		if err != nil {
			return err
		}
		s := staged{key: record.VersionKey{Config: filepath.ToSlash(config), Version: version}}
		entries, err := os.ReadDir(path)
		for _, e := range entries {
			if info, infoErr := e.Info(); infoErr == nil {
				s.bytes += info.Size()
				s.at = info.ModTime()
			}
		}
		found = append(found, s)
		if err != nil {
			return err
		}
		return fs.SkipDir
	})
	slices.SortFunc(found, func(a, b staged) int { return a.at.Compare(b.at) })
	return found, err
}
