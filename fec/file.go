package fec

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/bits-and-blooms/bitset"
	"github.com/cespare/xxhash/v2"

	"banyan/record"
)

// ErrNotHeld is returned for a shard that a File neither has nor can make.
var ErrNotHeld = errors.New("shard is not held")

// File is a form on disk that may still be incomplete. Data shards stand where the
// form has them, parity shards behind its end until the stripe is complete. It may be
// used by many at once.
type File struct {
	form  record.Form
	index Index
	coder *Coder
	f     *os.File

	mu     sync.Mutex
	have   *bitset.BitSet // shards on disk; guarded by mu, like all below
	quick  []uint64       // xxHash64 of each shard that was checked; 0: none was
	whole  int            // stripes of which all data is there
	copies sync.Pool      // of stripes
	prefix hash.Hash      // of the stripes before hashed
	hashed int            // stripes
	next   []byte         // where a shard is read that is hashed; nil until there is one
}

// NewFile makes a File of an open file. If it is whole, it holds all of the form;
// otherwise what it holds is found out by hashing it, so that it does not matter how
// the process ended that wrote it.
func NewFile(f *os.File, form record.Form, index Index, whole bool) (*File, error) {
	coder, err := CoderFor(form.Geometry)
	if err != nil {
		return nil, err
	}
	n := form.Geometry.Shards(form.Size)
	if len(index) != n {
		return nil, fmt.Errorf("%w: an index of %d shards for a form of %d", record.ErrInvalid, len(index), n)
	}
	file := &File{form: form, index: index, coder: coder, f: f, have: bitset.New(uint(n)), quick: make([]uint64, n), prefix: sha256.New()}
	file.copies.New = func() any {
		stripe := coder.NewStripe()
		return &stripe
	}
	for i := n - form.Geometry.PerStripe(); i >= 0 && i < n; i++ { // what is known to be zero need not come
		if form.Geometry.IsPadding(form.Size, i) {
			file.have.Set(uint(i))
		}
	}
	if whole {
		file.whole = int(form.Geometry.Stripes(form.Size))
		return file, nil
	}
	return file, file.scan()
}

// scan finds which shards are on disk.
func (x *File) scan() error {
	info, err := x.f.Stat()
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
		if err := x.readAt(n, buf); err != nil {
			return err
		}
		if record.Sum(buf) == x.index[n] {
			x.have.Set(uint(n))
			x.quick[n] = quickSum(buf)
		}
	}
	for s := range int(x.form.Geometry.Stripes(x.form.Size)) {
		if _, err := x.complete(s); err != nil {
			return err
		}
	}
	return nil
}

// quickSum is a xxHash64 that is never 0.
func quickSum(b []byte) uint64 { return max(xxhash.Sum64(b), 1) }

// Shards is how many shards the form has.
func (x *File) Shards() int { return len(x.index) }

// Form is which form this is.
func (x *File) Form() record.Form { return x.form }

// Index is the form's shard index. It must not be changed.
func (x *File) Index() Index { return x.index }

// Whole tells whether all of the form is there.
func (x *File) Whole() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.isWhole()
}

func (x *File) isWhole() bool { return int64(x.whole) == x.form.Geometry.Stripes(x.form.Size) }

// Have is the set of shards on disk.
func (x *File) Have() *bitset.BitSet {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.isWhole() {
		return bitset.New(uint(len(x.index))).Complement()
	}
	return x.have.Clone()
}

// offset is where shard n stands.
func (x *File) offset(n int) int64 {
	g := x.form.Geometry
	stripe, i := n/g.PerStripe(), n%g.PerStripe()
	if i < int(g.Data) {
		return (int64(stripe)*int64(g.Data) + int64(i)) * int64(g.ShardBytes)
	}
	end := g.Stripes(x.form.Size) * int64(g.Data) * int64(g.ShardBytes)
	return end + (int64(stripe)*int64(g.Parity)+int64(i)-int64(g.Data))*int64(g.ShardBytes)
}

// readAt reads a shard; what is behind the end of the file is zero.
func (x *File) readAt(n int, buf []byte) error {
	at, want := x.offset(n), int64(len(buf))
	if i := n % x.form.Geometry.PerStripe(); i < int(x.form.Geometry.Data) {
		want = max(min(want, x.form.Size-at), 0)
	}
	got, err := x.f.ReadAt(buf[:want], at)
	if err != nil && err != io.EOF {
		return err
	}
	clear(buf[got:])
	return nil
}

func (x *File) writeAt(n int, shard []byte) error {
	at := x.offset(n)
	if i := n % x.form.Geometry.PerStripe(); i < int(x.form.Geometry.Data) {
		shard = shard[:max(min(int64(len(shard)), x.form.Size-at), 0)]
	}
	_, err := x.f.WriteAt(shard, at)
	return err
}

// Put checks a shard and stores it. It returns which other shards that made it
// possible to restore, and record.ErrChecksum for bytes that are not the shard's.
func (x *File) Put(n int, shard []byte) (restored []int, err error) {
	if n < 0 || n >= len(x.index) || len(shard) != int(x.form.Geometry.ShardBytes) {
		return nil, fmt.Errorf("%w: shard %d of %d bytes", record.ErrInvalid, n, len(shard))
	}
	if record.Sum(shard) != x.index[n] {
		return nil, fmt.Errorf("shard %d: %w", n, record.ErrChecksum)
	}
	sum := quickSum(shard)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.have.Test(uint(n)) || x.isWhole() || x.stripeWhole(n/x.form.Geometry.PerStripe()) {
		return nil, nil
	}
	if err := x.writeAt(n, shard); err != nil {
		return nil, err
	}
	x.have.Set(uint(n))
	x.quick[n] = sum
	if restored, err = x.complete(n / x.form.Geometry.PerStripe()); err == nil {
		err = x.hash()
	}
	return restored, err
}

// hash takes the stripes that are whole into the hash of the form, in their order: by
// the time that the last shard comes little of it is left to do.
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
			x.prefix.Write(x.next[:max(min(int64(len(x.next)), x.form.Size-x.offset(n)), 0)])
		}
	}
	return nil
}

// complete restores the missing data of a stripe, if enough of it is there.
func (x *File) complete(stripe int) (restored []int, err error) {
	g := x.form.Geometry
	first := stripe * g.PerStripe()
	held, data := 0, 0
	for i := range g.PerStripe() {
		if x.have.Test(uint(first + i)) {
			held++
			data += one(i < int(g.Data))
		}
	}
	switch {
	case held < int(g.Data):
		return nil, nil
	case data == int(g.Data):
		x.whole++
		return nil, nil
	}
	pooled := x.copies.Get().(*[][]byte)
	defer x.copies.Put(pooled)
	shards := *pooled
	view := make([][]byte, len(shards))
	for i := range shards {
		if view[i] = shards[i][:0]; x.have.Test(uint(first + i)) {
			view[i] = shards[i]
			if err := x.readChecked(first+i, view[i]); err != nil {
				return nil, err
			}
		}
	}
	if err := x.coder.Rebuild(view); err != nil {
		return nil, fmt.Errorf("rebuild stripe %d: %w", stripe, err)
	}
	for i := range int(g.Data) {
		n := first + i
		if x.have.Test(uint(n)) {
			continue
		}
		if record.Sum(view[i]) != x.index[n] {
			return restored, fmt.Errorf("stripe %d: the publisher's parity does not fit its data: %w", stripe, record.ErrChecksum)
		}
		if err := x.writeAt(n, view[i]); err != nil {
			return restored, err
		}
		x.have.Set(uint(n))
		x.quick[n] = quickSum(view[i])
		restored = append(restored, n)
	}
	x.whole++
	return restored, nil
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// readChecked reads a shard from disk and checks it: against the index the first
// time, by xxHash64 after that, since only this disk can have damaged it.
func (x *File) readChecked(n int, buf []byte) error {
	if err := x.readAt(n, buf); err != nil {
		return err
	}
	if q := x.quick[n]; q != 0 {
		if quickSum(buf) == q {
			return nil
		}
	} else if record.Sum(buf) == x.index[n] {
		x.quick[n] = quickSum(buf)
		return nil
	}
	return fmt.Errorf("shard %d on disk: %w", n, record.ErrChecksum)
}

// Get reads a shard into buf, which has its size; parity of a stripe that is whole is
// made anew.
func (x *File) Get(n int, buf []byte) error {
	if n < 0 || n >= len(x.index) || len(buf) != int(x.form.Geometry.ShardBytes) {
		return fmt.Errorf("%w: shard %d into %d bytes", record.ErrInvalid, n, len(buf))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	g := x.form.Geometry
	stripe, i := n/g.PerStripe(), n%g.PerStripe()
	whole := x.isWhole()
	switch {
	case x.have.Test(uint(n)) || whole && i < int(g.Data):
		return x.readChecked(n, buf)
	case i < int(g.Data) || !whole && !x.stripeWhole(stripe):
		return fmt.Errorf("shard %d: %w", n, ErrNotHeld)
	}
	pooled := x.copies.Get().(*[][]byte)
	defer x.copies.Put(pooled)
	shards := *pooled
	for d := range int(g.Data) {
		if err := x.readChecked(stripe*g.PerStripe()+d, shards[d]); err != nil {
			return err
		}
	}
	if err := x.coder.Encode(shards); err != nil {
		return err
	}
	if record.Sum(shards[i]) != x.index[n] {
		return fmt.Errorf("shard %d: the publisher's parity does not fit its data: %w", n, record.ErrChecksum)
	}
	copy(buf, shards[i])
	return nil
}

func (x *File) stripeWhole(stripe int) bool {
	first := stripe * x.form.Geometry.PerStripe()
	for i := range int(x.form.Geometry.Data) {
		if !x.have.Test(uint(first + i)) {
			return false
		}
	}
	return true
}

// Finish checks the whole, cuts off what stands behind its end, and makes the file
// durable. It returns record.ErrChecksum if the index and the hash of the form, both
// the publisher's, do not go together.
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
	x.have.ClearAll()
	x.next = nil
	if err := x.f.Truncate(x.form.Size); err != nil {
		return err
	}
	return x.f.Sync()
}

// Close closes the file.
func (x *File) Close() error { return x.f.Close() }
