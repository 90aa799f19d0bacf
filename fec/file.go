package fec

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"

	"github.com/bits-and-blooms/bitset"
	"github.com/cespare/xxhash/v2"

	"banyan/record"
)

// ErrNotHeld is returned for a shard that a File neither has nor can make.
var ErrNotHeld = errors.New("shard is not held")

// File is a form on disk that may be incomplete. It is safe for concurrent use.
type File struct {
	form  record.Form
	index Index
	coder *Coder

	mu    sync.Mutex
	disk  shardFile      // guarded by mu
	have  *bitset.BitSet // shards on disk; guarded by mu
	quick []uint64       // xxHash64 of each shard that was checked; 0: not checked; guarded by mu
	whole int            // number of stripes whose data shards are all on disk; guarded by mu

	stripes sync.Pool // buffers of a stripe

	// The SHA-256 of the form is computed while shards come.
	prefix hash.Hash // of the first hashed stripes; guarded by mu
	hashed int       // number of stripes in prefix; guarded by mu
	next   []byte    // buffer for the next shard to be hashed; guarded by mu
}

// NewFile makes a File of an open file. If complete is set, the file holds the whole form.
// Otherwise NewFile hashes the file to find the shards that it holds, so it does not matter
// how the process ended that has written the file.
func NewFile(f *os.File, form record.Form, index Index, complete bool) (*File, error) {
	coder, err := CoderFor(form.Geometry)
	if err != nil {
		return nil, err
	}
	n := form.Geometry.Shards(form.Size)
	if len(index) != n {
		return nil, fmt.Errorf("%w: an index of %d shards for a form of %d shards",
			record.ErrChecksum, len(index), n)
	}
	x := &File{
		form:   form,
		index:  index,
		coder:  coder,
		disk:   shardFile{f: f, form: form},
		have:   bitset.New(uint(n)),
		quick:  make([]uint64, n),
		prefix: sha256.New(),
	}
	x.stripes.New = func() any {
		stripe := coder.NewStripe()
		return &stripe
	}
	// Padding is known to be zero, and counts as on disk.
	for i := max(n-form.Geometry.PerStripe(), 0); i < n; i++ {
		if form.Geometry.IsPadding(form.Size, i) {
			x.have.Set(uint(i))
		}
	}
	if complete {
		x.whole = int(form.Geometry.Stripes(form.Size))
		return x, nil
	}
	return x, x.scan()
}

// scan finds the shards that are on disk.
func (x *File) scan() error {
	info, err := x.disk.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil
	}
	buf := make([]byte, x.form.Geometry.ShardBytes)
	for n := range x.index {
		if x.have.Test(uint(n)) {
			continue
		}
		if err := x.disk.read(n, buf); err != nil {
			return err
		}
		if record.Sum(buf) == x.index[n] {
			x.mark(n, quickSum(buf))
		}
	}
	for stripe := range int(x.form.Geometry.Stripes(x.form.Size)) {
		if _, err := x.complete(stripe); err != nil {
			return err
		}
	}
	return nil
}

// quickSum returns the xxHash64 of b, or 1 if the hash is 0.
func quickSum(b []byte) uint64 { return max(xxhash.Sum64(b), 1) }

// mark records that shard n is on disk and was checked.
func (x *File) mark(n int, quick uint64) {
	x.have.Set(uint(n))
	x.quick[n] = quick
}

// Shards returns the number of shards of the form.
func (x *File) Shards() int { return len(x.index) }

// Form returns the description of the form.
func (x *File) Form() record.Form { return x.form }

// Index returns the shard index of the form. The caller must not change it.
func (x *File) Index() Index { return x.index }

// Whole reports whether every data shard is on disk.
func (x *File) Whole() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.isWhole()
}

func (x *File) isWhole() bool { return int64(x.whole) == x.form.Geometry.Stripes(x.form.Size) }

// stripeWhole reports whether every data shard of a stripe is on disk.
func (x *File) stripeWhole(stripe int) bool {
	first := stripe * x.form.Geometry.PerStripe()
	for i := range int(x.form.Geometry.Data) {
		if !x.have.Test(uint(first + i)) {
			return false
		}
	}
	return true
}

// Have returns the set of shards that the File has or can make.
func (x *File) Have() *bitset.BitSet {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.isWhole() {
		return bitset.New(uint(len(x.index))).Complement()
	}
	return x.have.Clone()
}

// Put checks a shard and stores it. It returns the other shards that could be restored
// afterwards. The error wraps record.ErrChecksum if the shard is not what the index says.
func (x *File) Put(n int, shard []byte) (restored []int, err error) {
	if n < 0 || n >= len(x.index) || len(shard) != int(x.form.Geometry.ShardBytes) {
		return nil, fmt.Errorf("shard %d of %d bytes: %w", n, len(shard), record.ErrChecksum)
	}
	if record.Sum(shard) != x.index[n] {
		return nil, fmt.Errorf("shard %d: %w", n, record.ErrChecksum)
	}
	quick := quickSum(shard)
	stripe := n / x.form.Geometry.PerStripe()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.have.Test(uint(n)) || x.isWhole() || x.stripeWhole(stripe) {
		return nil, nil
	}
	if err := x.disk.write(n, shard); err != nil {
		return nil, err
	}
	x.mark(n, quick)
	restored, err = x.complete(stripe)
	if err != nil {
		return restored, err
	}
	return restored, x.hash()
}

// complete restores the missing data shards of a stripe, if enough shards are on disk. It
// returns the restored shards.
func (x *File) complete(stripe int) (restored []int, err error) {
	g := x.form.Geometry
	first := stripe * g.PerStripe()
	held := 0
	for i := range g.PerStripe() {
		if x.have.Test(uint(first + i)) {
			held++
		}
	}
	if held < int(g.Data) {
		return nil, nil
	}
	if !x.stripeWhole(stripe) {
		if restored, err = x.rebuild(stripe); err != nil {
			return restored, err
		}
	}
	x.whole++
	return restored, nil
}

// rebuild restores the missing data shards of a stripe from the shards on disk.
func (x *File) rebuild(stripe int) (restored []int, err error) {
	g := x.form.Geometry
	first := stripe * g.PerStripe()
	pooled := x.stripes.Get().(*[][]byte)
	defer x.stripes.Put(pooled)
	shards := make([][]byte, len(*pooled))
	for i, buf := range *pooled {
		if !x.have.Test(uint(first + i)) {
			shards[i] = buf[:0] // missing; the coder fills it
			continue
		}
		shards[i] = buf
		if err := x.readChecked(first+i, buf); err != nil {
			return nil, err
		}
	}
	if err := x.coder.Rebuild(shards); err != nil {
		return nil, fmt.Errorf("rebuild stripe %d: %w", stripe, err)
	}
	for i, shard := range shards[:g.Data] {
		n := first + i
		if x.have.Test(uint(n)) {
			continue
		}
		if record.Sum(shard) != x.index[n] {
			return restored, fmt.Errorf("stripe %d: the publisher's parity does not match the data: %w",
				stripe, record.ErrChecksum)
		}
		if err := x.disk.write(n, shard); err != nil {
			return restored, err
		}
		x.mark(n, quickSum(shard))
		restored = append(restored, n)
	}
	return restored, nil
}

// hash adds the stripes that are complete, in order, to the hash of the form. Little is left
// to hash when the last shard comes.
func (x *File) hash() error {
	g := x.form.Geometry
	if x.next == nil {
		x.next = make([]byte, g.ShardBytes)
	}
	for ; int64(x.hashed) < g.Stripes(x.form.Size) && x.stripeWhole(x.hashed); x.hashed++ {
		for i := range int(g.Data) {
			n := x.hashed*g.PerStripe() + i
			if err := x.readChecked(n, x.next); err != nil {
				return err
			}
			x.prefix.Write(x.next[:x.disk.length(n)])
		}
	}
	return nil
}

// readChecked reads a shard from disk and checks it. The first time the shard is checked
// against the index. Afterwards its xxHash64 is compared, because only this disk can have
// damaged the shard.
func (x *File) readChecked(n int, buf []byte) error {
	if err := x.disk.read(n, buf); err != nil {
		return err
	}
	quick := x.quick[n]
	if quick != 0 && quickSum(buf) == quick {
		return nil
	}
	if quick == 0 && record.Sum(buf) == x.index[n] {
		x.quick[n] = quickSum(buf)
		return nil
	}
	return fmt.Errorf("shard %d on disk: %w", n, record.ErrChecksum)
}

// Get reads shard n into buf, which must have the size of a shard. A parity shard of a
// complete stripe is made anew.
func (x *File) Get(n int, buf []byte) error {
	if n < 0 || n >= len(x.index) || len(buf) != int(x.form.Geometry.ShardBytes) {
		return fmt.Errorf("shard %d into %d bytes: %w", n, len(buf), ErrNotHeld)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	g := x.form.Geometry
	stripe, i := n/g.PerStripe(), n%g.PerStripe()
	isData := i < int(g.Data)
	whole := x.isWhole()
	switch {
	case x.have.Test(uint(n)), whole && isData:
		return x.readChecked(n, buf)
	case isData, !whole && !x.stripeWhole(stripe):
		return fmt.Errorf("shard %d: %w", n, ErrNotHeld)
	}
	return x.makeParity(n, buf)
}

// makeParity makes the parity shard n from the data shards of its stripe.
func (x *File) makeParity(n int, buf []byte) error {
	g := x.form.Geometry
	first := n - n%g.PerStripe()
	pooled := x.stripes.Get().(*[][]byte)
	defer x.stripes.Put(pooled)
	shards := *pooled
	for i := range int(g.Data) {
		if err := x.readChecked(first+i, shards[i]); err != nil {
			return err
		}
	}
	if err := x.coder.Encode(shards); err != nil {
		return err
	}
	parity := shards[n-first]
	if record.Sum(parity) != x.index[n] {
		return fmt.Errorf("shard %d: the publisher's parity does not match the data: %w", n, record.ErrChecksum)
	}
	copy(buf, parity)
	return nil
}

// Finish checks the hash of the whole form, cuts off the parity shards, and makes the file
// durable. The error wraps record.ErrChecksum if the publisher's index and hash of the form
// contradict each other.
func (x *File) Finish() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.isWhole() {
		return ErrNotHeld
	}
	if err := x.hash(); err != nil {
		return err
	}
	if record.Digest(x.prefix.Sum(nil)) != x.form.SHA256 {
		return fmt.Errorf("form of %d bytes: %w", x.form.Size, record.ErrChecksum)
	}
	x.have.ClearAll() // the parity shards are gone; Get makes them anew
	x.next = nil
	return x.disk.finish()
}

// Close closes the file.
func (x *File) Close() error { return x.disk.f.Close() }
