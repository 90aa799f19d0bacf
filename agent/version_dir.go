package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banyan/body"
	"banyan/fec"
	"banyan/record"
)

// versionDir is the directory of a version: the body, the description, and the received
// forms and indices.
type versionDir struct {
	key  record.VersionKey
	path string
}

// passedFile holds the hash of the passed check command.
const passedFile = "passed"

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

// formFile is the name of the file with the bytes of form number n.
func formFile(f record.Form, n uint8) string {
	if f.Encoding == record.EncodingIdentity {
		return valueFile
	}
	return "form" + strconv.Itoa(int(n))
}

// indexFile is the name of the file with the shard index of form number n.
func indexFile(n uint8) string { return "index" + strconv.Itoa(int(n)) }

func (d versionDir) name() string { return filepath.Base(d.path) }

// value is the path of the body.
func (d versionDir) value() string { return filepath.Join(d.path, valueFile) }

func (d versionDir) remove() error { return os.RemoveAll(d.path) }

// meta reads the description of the version.
func (d versionDir) meta() (meta, error) {
	var m meta
	raw, err := os.ReadFile(filepath.Join(d.path, metaFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(raw, &m)
}

// manifest reads the manifest of the version, decoded and as signed. The manifest was
// verified before the version was staged.
func (d versionDir) manifest() (record.Manifest, []byte, error) {
	described, err := d.meta()
	if err != nil {
		return record.Manifest{}, nil, err
	}
	m, err := record.DecodeManifest(described.Manifest)
	return m, described.Manifest, err
}

// forms returns the set of forms of the version on disk: bit i is form i.
func (d versionDir) forms(m record.Manifest) (set uint8) {
	for i, f := range m.Forms {
		if _, err := os.Stat(filepath.Join(d.path, formFile(f, uint8(i)))); err == nil {
			set |= 1 << i
		}
	}
	return set
}

// formsOnDisk returns the set of forms of the version on disk; 0 without a readable
// manifest.
func (d versionDir) formsOnDisk() uint8 {
	m, _, err := d.manifest()
	if err != nil {
		return 0
	}
	return d.forms(m)
}

// open opens the body.
func (d versionDir) open() (*os.File, error) { return os.Open(d.value()) }

// openForm opens the bytes of form number n.
func (d versionDir) openForm(m record.Manifest, n uint8) (*os.File, error) {
	return os.Open(filepath.Join(d.path, formFile(m.Forms[n], n)))
}

// load opens form number n and the index. The index is read from disk, or made anew if no index
// came with the form.
func (d versionDir) load(n uint8) (*os.File, record.Form, fec.Index, error) {
	m, _, err := d.manifest()
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	form, err := body.FormOf(m, n)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	f, err := d.openForm(m, n)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	index, err := d.index(f, form, n)
	if err != nil {
		f.Close()
		return nil, record.Form{}, nil, fmt.Errorf("%s version %d on disk: %w", d.key.Config, d.key.Version, err)
	}
	return f, form, index, nil
}

// index returns the shard index of form number n, with the bytes f.
func (d versionDir) index(f *os.File, form record.Form, n uint8) (fec.Index, error) {
	if raw, err := os.ReadFile(filepath.Join(d.path, indexFile(n))); err == nil {
		return fec.ParseIndex(raw, form)
	}
	index, _, err := fec.BuildIndex(f, form.Size, form.Geometry)
	if err != nil {
		return nil, err
	}
	if index.Digest() != form.IndexSHA256 {
		return nil, record.ErrChecksum
	}
	return index, nil
}

// check compares the hash of the body with the description. The error wraps
// record.ErrChecksum if they differ.
func (d versionDir) check() error {
	m, err := d.meta()
	if err != nil {
		return err
	}
	f, err := d.open()
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := record.SumReader(f)
	if err != nil {
		return err
	}
	if sum != m.SHA256 {
		return fmt.Errorf("%s version %d on disk: %w", d.key.Config, d.key.Version, record.ErrChecksum)
	}
	return nil
}

// passed reports whether the version has passed the check command on this host before. A
// rollback to the version then needs no check.
func (d versionDir) passed(command []string) bool {
	raw, err := os.ReadFile(filepath.Join(d.path, passedFile))
	return err == nil && string(raw) == commandSum(command)
}

// setPassed records that the version has passed the check command. The record is not synced:
// after a crash, the check may run again.
func (d versionDir) setPassed(command []string) error {
	return os.WriteFile(filepath.Join(d.path, passedFile), []byte(commandSum(command)), 0o644)
}

func commandSum(command []string) string {
	return record.Sum([]byte(strings.Join(command, "\x00"))).String()
}
