package fec

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync"

	"banyan/record"
)

// Index is the SHA-256 of every shard, stripe after stripe, in each the data
// shards first.
type Index []record.Digest

// Digest hashes the index: what a manifest binds.
func (x Index) Digest() record.Digest { return record.Sum(x.Bytes()) }

// Bytes is the index as it travels: the hashes, one after another.
func (x Index) Bytes() []byte {
	b := make([]byte, 0, len(x)*len(record.Digest{}))
	for i := range x {
		b = append(b, x[i][:]...)
	}
	return b
}

// ParseIndex reads the index of a form, and holds it to what the form binds.
func ParseIndex(b []byte, f record.Form) (Index, error) {
	if err := f.Geometry.Validate(f.Size); err != nil {
		return nil, err
	}
	const size = len(record.Digest{})
	if want := f.Geometry.Shards(f.Size) * size; len(b) != want {
		return nil, fmt.Errorf("%w: a shard index of %d bytes, %d shards make %d", record.ErrInvalid, len(b), f.Geometry.Shards(f.Size), want)
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

// FormOf is the form of a body in memory as it is, with its index.
func FormOf(body []byte) (record.Form, Index, error) {
	size := int64(len(body))
	g := GeometryFor(size)
	index, sum, err := BuildIndex(bytes.NewReader(body), size, g)
	return record.Form{Encoding: record.EncodingIdentity, Size: size, SHA256: sum, Geometry: g, IndexSHA256: index.Digest()}, index, err
}

// BuildIndex reads exactly size bytes of a form and returns the index of its shards
// and the SHA-256 of the whole. It works on several stripes at once, as many as there
// are processors, and one more is being read.
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
	err = p.read(io.TeeReader(form, whole), size)
	if workErr := p.wait(); err == nil {
		err = workErr
	}
	if err != nil {
		return nil, record.Digest{}, err
	}
	if n, _ := io.CopyN(io.Discard, form, 1); n != 0 {
		return nil, record.Digest{}, fmt.Errorf("%w: more than the %d bytes stated", ErrSize, size)
	}
	return p.index, record.Digest(whole.Sum(nil)), nil
}

// indexer hashes stripes in goroutines of its own; each stripe buffer is either free,
// or on its way to a worker.
type indexer struct {
	coder *Coder
	index Index
	free  chan [][]byte
	work  chan numbered
	done  sync.WaitGroup
	mu    sync.Mutex
	err   error // guarded by mu
}

type numbered struct {
	stripe int
	shards [][]byte
}

func newIndexer(c *Coder, index Index) *indexer {
	workers := max(1, min(runtime.GOMAXPROCS(0), len(index)/c.g.PerStripe()))
	p := &indexer{coder: c, index: index, free: make(chan [][]byte, workers+1), work: make(chan numbered)}
	for range workers + 1 {
		p.free <- c.NewStripe()
	}
	for range workers {
		p.done.Go(p.hash)
	}
	return p
}

func (p *indexer) read(r io.Reader, remaining int64) error {
	for stripe := 0; remaining > 0; stripe++ {
		shards := <-p.free
		n, err := p.coder.fill(r, shards, remaining)
		if err != nil {
			return err
		}
		remaining -= n
		p.work <- numbered{stripe, shards}
	}
	return nil
}

func (p *indexer) hash() {
	for w := range p.work {
		if err := p.coder.Encode(w.shards); err != nil {
			p.mu.Lock()
			p.err = fmt.Errorf("encode stripe: %w", err)
			p.mu.Unlock()
		}
		for i, s := range w.shards {
			p.index[w.stripe*len(w.shards)+i] = record.Sum(s)
		}
		p.free <- w.shards
	}
}

func (p *indexer) wait() error {
	close(p.work)
	p.done.Wait()
	return p.err
}
