package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"banyan/mesh/wire"
	"banyan/record"
)

// heal verifies the files of a version that could not be served. A damaged form is deleted, and
// the node serves the other forms. A version whose body is damaged is fetched again when it is
// needed. heal reports whether other forms, or the body, can be served instead.
func (b *bodies) heal(v record.VersionKey) bool {
	if b.isArriving(v) {
		return false
	}
	dir := b.output.version(v)
	m, _, err := dir.verify()
	if err != nil {
		_, statErr := os.Lstat(dir.path)
		damaged := errors.Is(err, record.ErrChecksum) || errors.Is(err, fs.ErrNotExist)
		if statErr == nil && damaged { // any other error says nothing about the version
			b.log.Warn("version on disk is damaged", "config", v.Config, "version", v.Version, "error", err)
			b.lost(v)
		}
		return false
	}
	healed := false
	for n := range m.Forms {
		healed = b.healForm(dir, m, uint8(n)) || healed
	}
	if healed {
		b.Abandon(v) // closes the files of the deleted forms
		b.hold(v, dir.forms(m))
	}
	return healed
}

// isArriving reports whether shards of v are on their way.
func (b *bodies) isArriving(v record.VersionKey) bool {
	_, _, _, ok := b.shards.Offer(v, wire.AnyForm)
	return ok
}

// healForm deletes form number n if its file is damaged. It reports whether the form was deleted.
func (b *bodies) healForm(dir versionDir, m record.Manifest, n uint8) bool {
	f, err := dir.openForm(m, n)
	if err == nil {
		f.Close()
		return false
	}
	if !errors.Is(err, record.ErrChecksum) {
		return false // no file, or an error that says nothing about the form
	}
	removed, removeErr := dir.removeForm(m, n)
	log := b.log.With("config", dir.key.Config, "version", dir.key.Version, "form", n, "error", err)
	switch {
	case removeErr != nil:
		log.Warn("form on disk is damaged, and can't be deleted", "because", removeErr)
	case removed:
		log.Warn("form on disk was damaged, and is deleted")
	}
	return removed
}

// rebuild restores the body of a version from a form on disk.
func (b *bodies) rebuild(v record.VersionKey) error {
	dir := b.output.version(v)
	m, signed, err := dir.manifest()
	if err != nil {
		return err
	}
	for n, f := range m.Forms {
		if f.Encoding == record.EncodingIdentity {
			continue // the form is the body
		}
		if err = b.rebuildFrom(dir, m, signed, uint8(n)); err == nil {
			b.hold(v, dir.forms(m))
			return nil
		}
	}
	return fmt.Errorf("%s version %d has no undamaged form on disk: %w", v.Config, v.Version, record.ErrChecksum)
}

func (b *bodies) rebuildFrom(dir versionDir, m record.Manifest, signed []byte, n uint8) error {
	form, err := dir.openForm(m, n)
	if err != nil {
		return err
	}
	defer form.Close()
	base, err := b.base(m.Config, m.Forms[n])
	if err != nil {
		return err
	}
	return b.output.stage(m, signed, func(s *staging) error {
		return s.writeFormAndBody(m.Forms[n], n, io.LimitReader(form, m.Forms[n].Size), base)
	})
}
