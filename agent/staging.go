package agent

import (
	"io"
	"os"
	"path/filepath"

	"banyan/forms"
	"banyan/internal/atomicfile"
	"banyan/internal/diskspace"
	"banyan/record"
)

// staging is an unfinished version, in a directory unknown to readers.
type staging struct {
	dir      string
	manifest record.Manifest
	signed   []byte // the manifest as signed
	reserve  int64  // bytes that must stay free on disk
}

// writeBody decodes the form f and writes the body. The error wraps record.ErrChecksum if the
// body differs from the manifest's. base is the body of version f.Base.
func (s *staging) writeBody(f record.Form, encoded io.Reader, base []byte) error {
	if err := diskspace.Check(s.dir, s.manifest.BodySize, s.reserve); err != nil {
		return err
	}
	w, err := os.OpenFile(filepath.Join(s.dir, valueFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := forms.Decode(s.manifest, f, encoded, base, w); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return w.Close()
}

// writeFormAndBody writes the bytes of form number n and the decoded body.
func (s *staging) writeFormAndBody(f record.Form, n uint8, encoded io.Reader, base []byte) error {
	if f.Encoding == record.EncodingIdentity {
		return s.writeBody(f, encoded, nil)
	}
	if err := diskspace.Check(s.dir, f.Size+s.manifest.BodySize, s.reserve); err != nil {
		return err
	}
	w, err := os.OpenFile(filepath.Join(s.dir, formFile(f, n)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := s.writeBody(f, io.TeeReader(io.LimitReader(encoded, f.Size), w), base); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return w.Close()
}

// adopt decodes form number n, in the file path, into the body, and moves the file
// into the version. A form with the identity encoding becomes the body itself. The file was synced
// when the last shard came.
func (s *staging) adopt(f record.Form, n uint8, path string, index, base []byte) error {
	if f.Encoding != record.EncodingIdentity {
		encoded, err := os.Open(path)
		if err != nil {
			return err
		}
		defer encoded.Close()
		if err := s.writeBody(f, encoded, base); err != nil {
			return err
		}
	}
	if err := writeSynced(filepath.Join(s.dir, indexFile(n)), index); err != nil {
		return err
	}
	return os.Rename(path, filepath.Join(s.dir, formFile(f, n)))
}

// finish writes the description of the version and makes the directory durable.
func (s *staging) finish() error {
	described, err := encodeMeta(s.manifest, s.signed)
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(s.dir, metaFile), described); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	return atomicfile.SyncDir(s.dir)
}

// writeSynced writes a new file durably.
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
