package agent

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"banyan/internal/atomicfile"
	"banyan/internal/diskspace"
	"banyan/mesh"
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

func (t *tree) versionPath(v mesh.VersionKey) string {
	return filepath.Join(t.dir(v.Config), versionDir+strconv.FormatUint(v.Version, 10))
}

// stage writes a version next to the one that shows, checked against its
// manifest, whole or not at all.
func (t *tree) stage(m record.Manifest, signed []byte, body io.Reader) (err error) {
	v := mesh.VersionKey{Config: m.Config, Version: m.Version}
	dir := t.dir(m.Config)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := diskspace.Check(dir, m.BodySize, t.reserve); err != nil {
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
	if err := writeBody(filepath.Join(tmp, valueFile), m, body); err != nil {
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
	// What stands there is the same version, or a damaged one: either may go.
	if err := os.RemoveAll(t.versionPath(v)); err != nil {
		return err
	}
	if err := os.Rename(tmp, t.versionPath(v)); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// writeBody copies the body to path and checks its size and hash on the way.
func writeBody(path string, m record.Manifest, body io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(body, m.BodySize+1))
	if err != nil {
		return fmt.Errorf("body of %s version %d: %w", m.Config, m.Version, err)
	}
	if n != m.BodySize || record.Digest(sum.Sum(nil)) != m.BodySHA256 {
		return fmt.Errorf("body of %s version %d: %w", m.Config, m.Version, record.ErrChecksum)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
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
func (t *tree) show(v mesh.VersionKey) error {
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

// meta reads the description of a version on disk.
func (t *tree) meta(v mesh.VersionKey) (meta, error) {
	var m meta
	raw, err := os.ReadFile(filepath.Join(t.versionPath(v), metaFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(raw, &m)
}

// open opens the body of a version on disk.
func (t *tree) open(v mesh.VersionKey) (*os.File, error) {
	return os.Open(filepath.Join(t.versionPath(v), valueFile))
}

// check hashes a version on disk against its description.
func (t *tree) check(v mesh.VersionKey) error {
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
func (t *tree) scan() ([]mesh.VersionKey, error) {
	var found []mesh.VersionKey
	err := filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == t.root {
			return err
		}
		name := d.Name()
		switch {
		case strings.HasPrefix(name, stagingDir):
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		case d.IsDir() && strings.HasPrefix(name, versionDir):
			version, err := strconv.ParseUint(strings.TrimPrefix(name, versionDir), 10, 64)
			config, relErr := filepath.Rel(t.root, filepath.Dir(path))
			if err == nil && relErr == nil {
				found = append(found, mesh.VersionKey{Config: filepath.ToSlash(config), Version: version})
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

// prune removes the oldest versions of a config beyond keep, never the one shown,
// and returns those it removed.
func (t *tree) prune(config string, shown uint64, keep int) ([]mesh.VersionKey, error) {
	entries, err := os.ReadDir(t.dir(config))
	if err != nil {
		return nil, err
	}
	var versions []uint64
	for _, e := range entries {
		if v, err := strconv.ParseUint(strings.TrimPrefix(e.Name(), versionDir), 10, 64); err == nil && strings.HasPrefix(e.Name(), versionDir) && v != shown {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	var removed []mesh.VersionKey
	for len(versions) > keep-1 {
		v := mesh.VersionKey{Config: config, Version: versions[0]}
		versions = versions[1:]
		if err := os.RemoveAll(t.versionPath(v)); err != nil {
			return removed, err
		}
		removed = append(removed, v)
	}
	return removed, nil
}
