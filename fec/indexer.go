package fec

import (
	"fmt"
	"io"
	"runtime"
	"sync"

	"banyan/record"
)

// indexer encodes and hashes stripes in goroutines. The buffer of a stripe is either free or
// has been given to a worker.
type indexer struct {
	coder *Coder
	index Index         // each worker writes the entries of its stripes
	free  chan [][]byte // buffers of a stripe
	work  chan numbered
	done  sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu
}

// numbered is a stripe with its data shards, to be encoded and hashed.
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

// read reads remaining bytes and gives the stripes to the workers.
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

// hash is a worker.
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

// wait waits for the workers and returns their error.
func (p *indexer) wait() error {
	close(p.work)
	p.done.Wait()
	return p.err
}
