package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banyan/forms"
	"banyan/internal/atomicfile"
	"banyan/internal/diskspace"
	"banyan/record"
)

// tree is the output directory: the versions on disk and which of them shows.
type tree struct {
	root    string
	reserve int64 // bytes that must stay free
}

const (
	dataLink    = "..data"
	versionDir  = "..v"
	stagingDir  = "..tmp-"
	partialDir  = "..partial"
	cacheDir    = "..cache"
	valueFile   = "value"
	metaFile    = "meta.json"
	defaultKeep = 3
)

// meta is the content of meta.json.
type meta struct {
	Config      string        `json:"config"`
	Version     uint64        `json:"version"`
	SHA256      record.Digest `json:"sha256"`
	Size        int64         `json:"size"`
	ContentType string        `json:"content_type"`
	Message     string        `json:"message"`
	Manifest    []byte        `json:"manifest"` // as signed
}

func openTree(root string, reserve int64) (*tree, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	probe, err := os.CreateTemp(root, stagingDir)
	if err != nil {
		return nil, fmt.Errorf("output directory %s is not writable: %w", root, err)
	}
	probe.Close()
	return &tree{root, reserve}, os.Remove(probe.Name())
}

func (t *tree) dir(config string) string { return filepath.Join(t.root, filepath.FromSlash(config)) }

func (t *tree) versionPath(v record.VersionKey) string {
	return filepath.Join(t.dir(v.Config), versionDir+strconv.FormatUint(v.Version, 10))
}

// stage puts a version next to the one that shows, whole or not at all. fill writes
// its body, checked, as valueFile into the directory that it is given, and may put
// forms beside it.
func (t *tree) stage(m record.Manifest, signed []byte, fill func(dir string) error) (err error) {
	v := record.VersionKey{Config: m.Config, Version: m.Version}
	dir := t.dir(m.Config)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, stagingDir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	described, err := json.MarshalIndent(meta{m.Config, m.Version, m.BodySHA256, m.BodySize, m.ContentType, m.Message, signed}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(tmp, metaFile), append(described, '\n')); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(tmp); err != nil {
		return err
	}
	// What stands there is the same version, or a damaged one: either may go, but readers
	// must find one of them at any time.
	if err := atomicfile.ReplaceDir(tmp, t.versionPath(v)); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// writeBody makes the body of an encoded form in dir, checked against its manifest.
func (t *tree) writeBody(dir string, m record.Manifest, f record.Form, encoded io.Reader, base []byte) error {
	if err := diskspace.Check(dir, m.BodySize, t.reserve); err != nil {
		return err
	}
	w, err := os.OpenFile(filepath.Join(dir, valueFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := forms.Decode(m, f, encoded, base, w); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return w.Close()
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// show makes a version the one that readers see, by one rename.
func (t *tree) show(v record.VersionKey) error {
	dir := t.dir(v.Config)
	target := filepath.Base(t.versionPath(v))
	if current, err := os.Readlink(filepath.Join(dir, dataLink)); err == nil && current == target {
		return t.ensureLinks(dir)
	}
	next := filepath.Join(dir, stagingDir+"data")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	return t.ensureLinks(dir)
}

// ensureLinks makes the names that programs open.
func (t *tree) ensureLinks(dir string) error {
	for _, name := range []string{valueFile, metaFile} {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// hide removes what readers see of a config: its pointer gives this host no version.
func (t *tree) hide(config string) error {
	for _, name := range []string{valueFile, metaFile, dataLink} {
		if err := os.Remove(filepath.Join(t.dir(config), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remove removes a version that does not show, and directories that are empty then.
func (t *tree) remove(v record.VersionKey) error {
	if err := os.RemoveAll(t.versionPath(v)); err != nil {
		return err
	}
	for dir := t.dir(v.Config); dir != t.root && os.Remove(dir) == nil; {
		dir = filepath.Dir(dir)
	}
	return nil
}

// meta reads the description of a version on disk.
func (t *tree) meta(v record.VersionKey) (meta, error) {
	var m meta
	raw, err := os.ReadFile(filepath.Join(t.versionPath(v), metaFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(raw, &m)
}

// open opens the body of a version on disk.
func (t *tree) open(v record.VersionKey) (*os.File, error) {
	return os.Open(filepath.Join(t.versionPath(v), valueFile))
}

// check hashes a version on disk against its description.
func (t *tree) check(v record.VersionKey) error {
	m, err := t.meta(v)
	if err != nil {
		return err
	}
	f, err := t.open(v)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := record.SumReader(f)
	if err != nil {
		return err
	}
	if sum != m.SHA256 {
		return fmt.Errorf("%s version %d on disk: %w", v.Config, v.Version, record.ErrChecksum)
	}
	return nil
}

// scan lists the versions on disk and removes what a crash left half written.
func (t *tree) scan() ([]record.VersionKey, error) {
	var found []record.VersionKey
	err := filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == t.root {
			return err
		}
		name := d.Name()
		switch {
		case name == partialDir || name == cacheDir:
		case strings.HasPrefix(name, stagingDir):
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		case d.IsDir() && strings.HasPrefix(name, versionDir):
			version, err := strconv.ParseUint(strings.TrimPrefix(name, versionDir), 10, 64)
			config, relErr := filepath.Rel(t.root, filepath.Dir(path))
			if err == nil && relErr == nil {
				found = append(found, record.VersionKey{Config: filepath.ToSlash(config), Version: version})
			}
		default:
			return nil
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

// prune removes the oldest versions of a config beyond keep, but none that stays says
// so of, and returns those it removed.
func (t *tree) prune(config string, keep int, stays func(record.VersionKey) bool) (removed []record.VersionKey, err error) {
	versions := t.held(config) // newest first
	for _, version := range versions[min(keep, len(versions)):] {
		v := record.VersionKey{Config: config, Version: version}
		if stays(v) {
			continue
		}
		if err := os.RemoveAll(t.versionPath(v)); err != nil {
			return removed, err
		}
		removed = append(removed, v)
	}
	return removed, nil
}
