package fec

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"

	"banyan/record"
)

// Index has the SHA-256 of every shard. The shards are ordered by stripe; in a stripe, the
// data shards come first.
type Index []record.Digest

// Digest returns the hash of the index, which a manifest names.
func (x Index) Digest() record.Digest { return record.Sum(x.Bytes()) }

// Bytes returns the encoded index: the hashes, one after another.
func (x Index) Bytes() []byte {
	b := make([]byte, 0, len(x)*len(record.Digest{}))
	for i := range x {
		b = append(b, x[i][:]...)
	}
	return b
}

// ParseIndex decodes the index of a form. The error wraps record.ErrChecksum if the index is
// not the one that the form names.
func ParseIndex(b []byte, f record.Form) (Index, error) {
	if err := f.Geometry.Validate(f.Size); err != nil {
		return nil, err
	}
	const size = len(record.Digest{})
	if want := f.Geometry.Shards(f.Size) * size; len(b) != want {
		return nil, fmt.Errorf("shard index of %d bytes, %d shards need %d bytes: %w",
			len(b), f.Geometry.Shards(f.Size), want, record.ErrChecksum)
	}
	if record.Sum(b) != f.IndexSHA256 {
		return nil, fmt.Errorf("shard index: %w", record.ErrChecksum)
	}
	x := make(Index, len(b)/size)
	for i := range x {
		copy(x[i][:], b[i*size:])
	}
	return x, nil
}

// FormOf returns the form with the identity encoding of a body in memory, and its index.
func FormOf(body []byte) (record.Form, Index, error) {
	size := int64(len(body))
	g := GeometryFor(size)
	index, sum, err := BuildIndex(bytes.NewReader(body), size, g)
	if err != nil {
		return record.Form{}, nil, err
	}
	return record.Form{
		Encoding:    record.EncodingIdentity,
		Size:        size,
		SHA256:      sum,
		Geometry:    g,
		IndexSHA256: index.Digest(),
	}, index, nil
}

// BuildIndex reads a form of exactly size bytes. It returns the index of the shards and the
// SHA-256 of the form. Each processor works on a stripe while one more stripe is read.
func BuildIndex(form io.Reader, size int64, g record.Geometry) (Index, record.Digest, error) {
	if err := g.Validate(size); err != nil {
		return nil, record.Digest{}, err
	}
	coder, err := CoderFor(g)
	if err != nil {
		return nil, record.Digest{}, err
	}
	p := newIndexer(coder, make(Index, g.Shards(size)))
	whole := sha256.New()
	readErr := p.read(io.TeeReader(form, whole), size)
	workErr := p.wait()
	if err := cmp.Or(readErr, workErr); err != nil {
		return nil, record.Digest{}, err
	}
	if n, _ := io.CopyN(io.Discard, form, 1); n != 0 {
		return nil, record.Digest{}, fmt.Errorf("%w: the form has more than the stated %d bytes", ErrSize, size)
	}
	return p.index, record.Digest(whole.Sum(nil)), nil
}
