package shardstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/fec"
	"banyan/mesh/wire"
	"banyan/record"
)

const (
	// MaxOpen is the number of open forms. Past MaxOpen, the least recently used complete form is
	// closed. If none is complete, the least recently used form is closed if it is idle. If none is
	// idle, no other form can begin.
	MaxOpen = 64
	// idleAfter is the time without a use after which a form is idle. It is half of the time after which
	// the exchange of a form on its way makes way for another. The shards of a closed form stay on disk.
	idleAfter = time.Minute
)

var (
	// ErrUnknown is returned for a form unknown to the store and to the owner.
	ErrUnknown = errors.New("form is not here")
	// ErrBusy is returned when too many forms are on their way.
	ErrBusy = errors.New("too many bodies are on their way")
)

// Loader opens a complete form of the owner.
type Loader func(key record.FormKey) (*os.File, record.Form, fec.Index, error)

// Store keeps forms. It is safe for concurrent use.
type Store struct {
	dir  directory
	load Loader

	mu   sync.Mutex
	open map[record.FormKey]*entry // guarded by mu
}

// Open opens the store in dir. The store refuses a form that would leave fewer than reserve
// bytes free on disk.
func Open(dir string, reserve int64, load Loader) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("shard store: %w", err)
	}
	return &Store{dir: directory{dir, reserve}, load: load, open: map[record.FormKey]*entry{}}, nil
}

// Begin prepares to take the shards of a form. It returns the shards on disk
// already.
func (s *Store) Begin(key record.FormKey, form record.Form, signed, index []byte) (*bitset.BitSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[key]; e != nil {
		e.used = time.Now()
		return e.file.Have(), nil
	}
	parsed, err := fec.ParseIndex(index, form)
	if err != nil {
		return nil, err
	}
	if err := s.makeRoom(); err != nil {
		return nil, err
	}
	e := &entry{dir: s.dir.path(key), signed: signed, index: index, used: time.Now()}
	if err := s.dir.prepare(e.dir, index); err != nil {
		return nil, err
	}
	if e.file, err = s.dir.open(e.dir, form, parsed); err != nil {
		return nil, err
	}
	s.open[key] = e
	return e.file.Have(), nil
}

// makeRoom closes a form, if MaxOpen forms are open.
func (s *Store) makeRoom() error {
	if len(s.open) < MaxOpen {
		return nil
	}
	idle := time.Now().Add(-idleAfter)
	key, ok := s.leastUsed(func(e *entry) bool { return !e.onItsWay() })
	if !ok {
		key, ok = s.leastUsed(func(e *entry) bool { return e.used.Before(idle) })
	}
	if !ok {
		return ErrBusy
	}
	s.open[key].file.Close()
	delete(s.open, key)
	return nil
}

// leastUsed returns the least recently used open form that matches selects. ok is false if there is none.
func (s *Store) leastUsed(matches func(*entry) bool) (oldest record.FormKey, ok bool) {
	for key, e := range s.open {
		if matches(e) && (!ok || e.used.Before(s.open[oldest].used)) {
			oldest = key
			ok = true
		}
	}
	return oldest, ok
}

// find returns an open form. If load is set, find opens a complete form of the owner.
func (s *Store) find(key record.FormKey, load bool) (*fec.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[key]; e != nil {
		e.used = time.Now()
		return e.file, nil
	}
	if !load {
		return nil, ErrUnknown
	}
	f, form, index, err := s.load(key)
	if err != nil {
		return nil, err
	}
	file, err := fec.NewFile(f, form, index, true)
	if err == nil {
		err = s.makeRoom()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s.open[key] = &entry{file: file, used: time.Now()}
	return file, nil
}

// Put stores a shard of a form on the way. It returns the other shards
// that were restored.
func (s *Store) Put(key record.FormKey, n int, shard []byte) ([]int, error) {
	file, err := s.find(key, false)
	if err != nil {
		return nil, err
	}
	return file.Put(n, shard)
}

// Get reads shard n into buf, which has record.MaxShardBytes bytes, and returns the part of
// buf that the shard fills.
func (s *Store) Get(key record.FormKey, n int, buf []byte) ([]byte, error) {
	file, err := s.find(key, true)
	if err != nil {
		return nil, err
	}
	shard := buf[:file.Form().Geometry.ShardBytes]
	return shard, file.Get(n, shard)
}

// Fill stores the bytes of a form on the way in one piece. It returns the shards on
// disk: every shard, if the bytes are correct.
func (s *Store) Fill(key record.FormKey, form []byte) (*bitset.BitSet, error) {
	file, err := s.find(key, false)
	if err != nil {
		return nil, err
	}
	g := file.Form().Geometry
	shard := make([]byte, g.ShardBytes)
	for n := range file.Shards() {
		if i := n % g.PerStripe(); i >= int(g.Data) || g.IsPadding(file.Form().Size, n) {
			continue
		}
		clear(shard[copy(shard, form):])
		form = form[min(len(form), len(shard)):]
		if _, err := file.Put(n, shard); err != nil {
			return nil, err
		}
	}
	return file.Have(), nil
}

// OpenWhole opens the bytes of a form on the way, if every shard has come.
func (s *Store) OpenWhole(key record.FormKey) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.open[key]
	if e == nil || !e.onItsWay() || !e.file.Whole() {
		return nil, ErrUnknown
	}
	f, err := os.Open(filepath.Join(e.dir, bytesFile))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, e.file.Form().Size), f}, nil
}

// Stored returns the number of bytes of shards of forms on their way.
func (s *Store) Stored() (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.open {
		if e.onItsWay() {
			bytes += e.stored()
		}
	}
	return bytes
}

// Offer returns the manifest and the index of a form of v on the way. choice limits
// the search to one form. ok is false if no matching form is on the way.
func (s *Store) Offer(v record.VersionKey, choice wire.FormChoice) (form uint8, signed, index []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for form := range uint8(record.MaxForms) {
		if !choice.Allows(form) {
			continue
		}
		if e := s.open[record.FormKey{VersionKey: v, Form: form}]; e != nil && e.onItsWay() {
			return form, e.signed, e.index, true
		}
	}
	return 0, nil, nil, false
}

// Index returns the index of a complete form.
func (s *Store) Index(key record.FormKey) ([]byte, error) {
	file, err := s.find(key, true)
	if err != nil {
		return nil, err
	}
	return file.Index().Bytes(), nil
}

// Finish checks a form after every shard has come, and makes the file durable. The caller
// moves the file away from path, and then calls Keep.
func (s *Store) Finish(key record.FormKey) (path string, index []byte, err error) {
	s.mu.Lock()
	e := s.open[key]
	s.mu.Unlock()
	if e == nil || !e.onItsWay() {
		return "", nil, ErrUnknown
	}
	return filepath.Join(e.dir, bytesFile), e.index, e.file.Finish()
}

// Keep deletes the directory of a form after the file was moved. The store goes on serving the
// shards of the form.
func (s *Store) Keep(key record.FormKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.open[key]
	if e == nil {
		return nil
	}
	dir := e.dir
	e.dir = ""
	e.signed = nil
	e.index = nil
	return os.RemoveAll(dir)
}

// Drop closes the forms of a version and deletes the shards.
func (s *Store) Drop(v record.VersionKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for form := range uint8(record.MaxForms) {
		key := record.FormKey{VersionKey: v, Form: form}
		if e := s.open[key]; e != nil {
			e.file.Close()
			delete(s.open, key)
		}
		errs = append(errs, os.RemoveAll(s.dir.path(key)))
	}
	return errors.Join(errs...)
}

// Prune deletes the shards of closed forms without a new shard for age.
func (s *Store) Prune(age time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := map[string]bool{}
	for _, e := range s.open {
		open[e.dir] = true
	}
	return s.dir.prune(age, open)
}

// Size returns the size on disk of the forms on their way, in bytes.
func (s *Store) Size() (int64, error) { return s.dir.size() }

// Close closes every file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for key, e := range s.open {
		errs = append(errs, e.file.Close())
		delete(s.open, key)
	}
	return errors.Join(errs...)
}
