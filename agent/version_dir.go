package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"banyan/body"
	"banyan/fec"
	"banyan/internal/atomicfile"
	"banyan/record"
)

// versionDir is the directory of a version: the body, the description, and the received
// forms and indices.
type versionDir struct {
	key      record.VersionKey
	path     string
	verified *verifiedFiles
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

func (d versionDir) remove() error {
	d.verified.forget(d.value())
	for n := range record.MaxForms {
		d.verified.forget(filepath.Join(d.path, "form"+strconv.Itoa(n)))
	}
	return os.RemoveAll(d.path)
}

// encodeMeta returns the content of meta.json for the manifest m. signed is m as signed.
func encodeMeta(m record.Manifest, signed []byte) ([]byte, error) {
	described, err := json.MarshalIndent(meta{
		Config:      m.Config,
		Version:     m.Version,
		SHA256:      m.BodySHA256,
		Size:        m.BodySize,
		ContentType: m.ContentType,
		Message:     m.Message,
		Manifest:    signed,
	}, "", "  ")
	return append(described, '\n'), err
}

// manifest reads the manifest of the version, decoded and as signed. The manifest was verified
// before the version was staged. The error wraps record.ErrChecksum if meta.json is not the file
// that was staged.
func (d versionDir) manifest() (record.Manifest, []byte, error) {
	path := filepath.Join(d.path, metaFile)
	raw, err := readSmall(path, maxMetaFile)
	if err != nil {
		return record.Manifest{}, nil, err
	}
	m, signed, err := decodeMeta(raw)
	if err == nil && m.Key() != d.key {
		err = fmt.Errorf("it describes %s version %d: %w", m.Config, m.Version, record.ErrChecksum)
	}
	if err != nil {
		return record.Manifest{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, signed, nil
}

// decodeMeta is the inverse of encodeMeta. The error wraps record.ErrChecksum if encodeMeta would
// not have written raw.
func decodeMeta(raw []byte) (record.Manifest, []byte, error) {
	var described meta
	if err := json.Unmarshal(raw, &described); err != nil {
		return record.Manifest{}, nil, fmt.Errorf("%s: %w", err, record.ErrChecksum)
	}
	m, err := record.DecodeManifest(described.Manifest)
	if err != nil {
		return record.Manifest{}, nil, fmt.Errorf("%s: %w", err, record.ErrChecksum)
	}
	want, err := encodeMeta(m, described.Manifest)
	if err != nil {
		return record.Manifest{}, nil, err
	}
	if !bytes.Equal(raw, want) {
		return record.Manifest{}, nil, fmt.Errorf("not as it was written: %w", record.ErrChecksum)
	}
	return m, described.Manifest, nil
}

// readSmall reads a regular file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path, syscall.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s has more than %d bytes: %w", path, limit, record.ErrChecksum)
	}
	return raw, err
}

// forms returns the set of forms of the version on disk: bit i is form i. A file of another size
// is no form. The content is verified when the form is opened.
func (d versionDir) forms(m record.Manifest) (set uint8) {
	for i, f := range m.Forms {
		info, err := os.Lstat(filepath.Join(d.path, formFile(f, uint8(i))))
		if err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			set |= 1 << i
		}
	}
	return set
}

// open opens the body after it has verified the content.
func (d versionDir) open() (*os.File, error) {
	m, _, err := d.manifest()
	if err != nil {
		return nil, err
	}
	f, _, err := d.verified.open(d.value(), m.BodySize, m.BodySHA256)
	return f, err
}

// openForm opens the bytes of form number n after it has verified the content.
func (d versionDir) openForm(m record.Manifest, n uint8) (*os.File, error) {
	form := m.Forms[n]
	f, _, err := d.verified.open(filepath.Join(d.path, formFile(form, n)), form.Size, form.SHA256)
	return f, err
}

// removeForm deletes the bytes and the index of form number n. removed is false if there are no
// bytes, or if the form is the body, which stays.
func (d versionDir) removeForm(m record.Manifest, n uint8) (removed bool, err error) {
	if m.Forms[n].Encoding == record.EncodingIdentity {
		return false, nil
	}
	path := filepath.Join(d.path, formFile(m.Forms[n], n))
	d.verified.forget(path)
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = os.Remove(filepath.Join(d.path, indexFile(n)))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return true, err
}

// load opens form number n and the index. The index is read from disk, or made anew if no index
// came with the form. The bytes are not verified: each shard is, when the shard is read.
func (d versionDir) load(n uint8) (*os.File, record.Form, fec.Index, error) {
	m, _, err := d.manifest()
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	form, err := body.FormOf(m, n)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	f, err := openRegular(filepath.Join(d.path, formFile(form, n)), syscall.O_NOFOLLOW)
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

// index returns the shard index of form number n, with the bytes f. A missing or damaged file of
// the index is made anew from f.
func (d versionDir) index(f *os.File, form record.Form, n uint8) (fec.Index, error) {
	path := filepath.Join(d.path, indexFile(n))
	if raw, err := readSmall(path, maxIndexFile); err == nil {
		if index, err := fec.ParseIndex(raw, form); err == nil {
			return index, nil
		}
	}
	index, _, err := fec.BuildIndex(f, form.Size, form.Geometry)
	if err != nil {
		return nil, err
	}
	if index.Digest() != form.IndexSHA256 {
		return nil, record.ErrChecksum
	}
	// Without the file, the next start makes the index once more.
	_ = atomicfile.Write(path, index.Bytes(), 0o644)
	return index, nil
}

// verify compares the files for readers with the signed manifest. It returns the manifest and the
// stamp of the body. The error wraps record.ErrChecksum if a file was altered.
func (d versionDir) verify() (record.Manifest, stamp, error) {
	m, _, err := d.manifest()
	if err != nil {
		return m, stamp{}, err
	}
	f, s, err := d.verified.open(d.value(), m.BodySize, m.BodySHA256)
	if err != nil {
		return m, s, err
	}
	return m, s, f.Close()
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
