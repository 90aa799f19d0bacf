package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"banyan/internal/atomicfile"
	"banyan/record"
)

// outputDir is the output directory. The directory of a config holds a directory for each version
// on disk, and links to the shown version.
type outputDir struct {
	root     string
	reserve  int64 // bytes that must stay free on disk
	verified *verifiedFiles
	// onReplace is called before a version is staged, and the returned function after that; nil for
	// no call.
	onReplace func(v record.VersionKey) func()
	// keepsDeleted reports whether the file of a config stays when the config is deleted.
	keepsDeleted func(config string) bool
}

// Names in the output directory. No segment of a config's name may begin with "..".
const (
	dataLink      = "..data"    // link to the shown version
	versionPrefix = "..v"       // directory of a version: ..v7-0123…, with the manifest's digest
	stagingPrefix = "..tmp-"    // unfinished files; deleted after a crash
	partialName   = "..partial" // forms on their way
	cacheName     = "..cache"   // shards of other configs, for other hosts
	valueFile     = "value"
	metaFile      = "meta.json"
)

// openOutputDir creates the output directory and checks that the agent can write there.
func openOutputDir(root string, reserve int64) (*outputDir, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	o := &outputDir{root: root, reserve: reserve, verified: newVerifiedFiles()}
	probe, err := os.CreateTemp(root, stagingPrefix)
	if errors.Is(err, syscall.ENOSPC) {
		return o, nil // the versions on disk can still be shown
	}
	if err != nil {
		return nil, fmt.Errorf("output directory %s is not writable: %w", root, err)
	}
	probe.Close()
	return o, os.Remove(probe.Name())
}

// partialDir is the directory for shards of bodies on their way. It is on the disk of the
// output directory, so a complete body is moved and not copied.
func (o *outputDir) partialDir() string { return filepath.Join(o.root, partialName) }

// cacheDir is where shards are kept for other hosts, on the same disk.
func (o *outputDir) cacheDir() string { return filepath.Join(o.root, cacheName) }

// config returns the directory of config. The directory need not exist.
func (o *outputDir) config(config string) configDir {
	return configDir(filepath.Join(o.root, filepath.FromSlash(config)))
}

// version returns the directory of v. The directory need not exist.
func (o *outputDir) version(v record.VersionKey) versionDir {
	name := fmt.Sprintf("%s%d-%s", versionPrefix, v.Version, v.Digest)
	return versionDir{key: v, path: filepath.Join(string(o.config(v.Config)), name), verified: o.verified}
}

// versionOf parses the name of a version's directory.
func versionOf(name string) (version record.Ref, ok bool) {
	name, ok = strings.CutPrefix(name, versionPrefix)
	if !ok {
		return record.Ref{}, false
	}
	number, digest, _ := strings.Cut(name, "-")
	version.Version, _ = strconv.ParseUint(number, 10, 64)
	version.Digest, _ = record.ParseDigest(digest)
	return version, version.Version != 0 && version.Digest != record.Digest{}
}

// stage writes a version beside the shown version. fill writes the checked body, and
// may write forms. After a crash the version is on disk completely or not at all.
func (o *outputDir) stage(m record.Manifest, signed []byte, fill func(*staging) error) (err error) {
	dir := string(o.config(m.Config))
	if err := o.makeDir(dir); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, stagingPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	s := &staging{dir: tmp, manifest: m, signed: signed, reserve: o.reserve}
	if err := fill(s); err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return err
	}
	// The directory may exist already, with the same version or a damaged copy. The two
	// directories are swapped, because readers must find a directory at any time.
	body, err := os.Lstat(filepath.Join(tmp, valueFile))
	if err != nil {
		return err
	}
	at := time.Now()
	v := o.version(m.Key())
	replaced := o.replacing(m.Key())
	if err := atomicfile.ReplaceDir(tmp, v.path); err != nil {
		return err
	}
	o.verified.add(v.value(), stampOf(body), m.BodySHA256, at)
	replaced()
	return atomicfile.SyncDir(dir)
}

// replacing is called before the directory of a version is replaced. It returns what is to be done
// after that.
func (o *outputDir) replacing(v record.VersionKey) func() {
	if o.onReplace == nil {
		return func() {}
	}
	return o.onReplace(v)
}

// makeDir makes the directory of a config, durably.
func (o *outputDir) makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == o.root {
		return err
	}
	parent := filepath.Dir(dir)
	if err := o.makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(parent)
}

// show makes readers see a committed version, which it verifies. It returns the description of the
// version for readers.
func (o *outputDir) show(c committed) (Applied, error) {
	dir := o.config(c.pointer.Config)
	if c.pointer.Deleted() && o.keepsDeleted(c.pointer.Config) {
		return c.describe(record.Manifest{}), nil
	}
	if c.Version.IsZero() {
		return c.describe(record.Manifest{}), dir.hide()
	}
	version := o.version(c.key())
	m, body, err := version.verify()
	if err != nil {
		return Applied{}, err
	}
	return c.describe(m), dir.show(version, body)
}

// compare returns how the files of a config differ from the shown version v; nil if they do not.
func (o *outputDir) compare(v record.VersionKey) error {
	dir := o.version(v)
	if err := o.config(v.Config).checkLinks(dir); err != nil {
		return err
	}
	_, _, err := dir.verify()
	return err
}

// bases returns the versions of config on disk that deltas may refer to, newest first.
func (o *outputDir) bases(config string) []record.Ref {
	return slices.DeleteFunc(o.held(config), func(version record.Ref) bool {
		_, _, err := o.version(version.Of(config)).verify()
		return err != nil
	})
}

// held returns the versions of config on disk, newest first.
func (o *outputDir) held(config string) []record.Ref {
	entries, err := os.ReadDir(string(o.config(config)))
	if err != nil {
		return nil
	}
	var versions []record.Ref
	for _, e := range entries {
		if v, ok := versionOf(e.Name()); ok {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b record.Ref) int { return cmp.Compare(b.Version, a.Version) })
	return versions
}

// storedVersion is a version on disk.
type storedVersion struct {
	key   record.VersionKey
	bytes int64
	at    time.Time // time of writing
}

// all returns the versions of all configs on disk, oldest first.
func (o *outputDir) all() ([]storedVersion, error) {
	var found []storedVersion
	err := filepath.WalkDir(o.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == partialName || d.Name() == cacheName {
			return fs.SkipDir
		}
		version, ok := versionOf(d.Name())
		if !ok {
			return nil
		}
		stored, err := o.measure(path, version)
		if err != nil {
			return err
		}
		found = append(found, stored)
		return fs.SkipDir
	})
	slices.SortFunc(found, func(a, b storedVersion) int { return a.at.Compare(b.at) })
	return found, err
}

// measure returns the size and the age of the version in the directory path.
func (o *outputDir) measure(path string, version record.Ref) (storedVersion, error) {
	config, err := filepath.Rel(o.root, filepath.Dir(path))
	if err != nil {
		return storedVersion{}, err
	}
	s := storedVersion{key: version.Of(filepath.ToSlash(config))}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if info, infoErr := e.Info(); infoErr == nil {
			s.bytes += info.Size()
			s.at = info.ModTime()
		}
	}
	return s, err
}

// clean deletes the unfinished files of a crash.
func (o *outputDir) clean() error {
	return filepath.WalkDir(o.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == o.root {
			return err
		}
		name := d.Name()
		_, isVersion := versionOf(name)
		switch {
		case strings.HasPrefix(name, stagingPrefix):
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir() && (isVersion || name == partialName || name == cacheName):
			return fs.SkipDir
		}
		return nil
	})
}

// prune deletes the versions of config that kept does not choose among those on disk. Versions for
// which stays returns true are kept, too. prune returns the deleted versions.
func (o *outputDir) prune(
	config string,
	kept func(held []record.Ref) map[record.Ref]bool,
	stays func(record.VersionKey) bool,
) ([]record.VersionKey, error) {
	var deleted []record.VersionKey
	versions := o.held(config)
	chosen := kept(versions)
	for _, version := range versions {
		v := version.Of(config)
		if chosen[version] || stays(v) {
			continue
		}
		if err := o.version(v).remove(); err != nil {
			return deleted, err
		}
		deleted = append(deleted, v)
	}
	return deleted, nil
}

// removeWithParents deletes a hidden version, and then the empty directories above the
// version.
func (o *outputDir) removeWithParents(v record.VersionKey) error {
	if err := o.version(v).remove(); err != nil {
		return err
	}
	o.removeEmpty(v.Config)
	return nil
}

// removeEmpty deletes the directory of a config, and those above, as far as they are empty.
func (o *outputDir) removeEmpty(config string) {
	dir := string(o.config(config))
	for dir != o.root && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}
