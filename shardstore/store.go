// Package shardstore keeps on disk the forms of bodies that are on their way to this
// host, shard by shard, and hands out shards of those and of forms that are whole.
//
//	index ──Begin──► directory with manifest, index and a file with holes ◄──Put── shards
//	                                  │                └──Get──► shards, for others
//	                               Finish: checked and durable; its owner moves the file where it keeps bodies
//
// Entry point: [Open].
//
// Promises: what was put survives kill -9, and [Store.Begin] finds it again; at most
// MaxOpen files are open; a shard that is damaged is neither taken nor given.
package shardstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/bits-and-blooms/bitset"
	"github.com/cespare/xxhash/v2"

	"banyan/fec"
	"banyan/internal/diskspace"
	"banyan/mesh/wire"
	"banyan/record"
)

// MaxOpen is how many forms are open at once. Past it, whole ones that were not used
// for the longest are closed; if all are on their way, another can't begin.
const MaxOpen = 64

var (
	// ErrUnknown is returned for a form that was not begun, and that the owner has not.
	ErrUnknown = errors.New("form is not here")
	// ErrBusy is returned when too many forms are on their way.
	ErrBusy = errors.New("too many bodies are on their way")
)

// Loader opens a form that is whole, from where its owner keeps it.
type Loader func(key record.FormKey) (*os.File, record.Form, fec.Index, error)

// Store keeps forms. It may be used by many at once.
type Store struct {
	dir     string
	reserve int64
	load    Loader

	mu   sync.Mutex
	open map[record.FormKey]*entry // guarded by mu
}

type entry struct {
	file   *fec.File
	signed []byte // manifest; nil for a form that was loaded
	index  []byte
	dir    string // of one on its way; "": it is whole
	used   time.Time
}

// Open opens the store in dir. A form is refused if it would leave fewer than reserve
// bytes free.
func Open(dir string, reserve int64, load Loader) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("shard store: %w", err)
	}
	return &Store{dir: dir, reserve: reserve, load: load, open: map[record.FormKey]*entry{}}, nil
}

const (
	bytesFile = "bytes"
	indexFile = "index"
)

// path is the directory of a form on its way. Names of configs may be long and have
// slashes: their hash names them here, the version is in the name for who looks.
func (s *Store) path(key record.FormKey) string {
	sum := record.Sum([]byte(key.Config))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:8])+"-"+strconv.FormatUint(key.Version, 10)+"-"+strconv.Itoa(int(key.Form)))
}

// Begin makes room for a form, or finds what has come of it already. It returns which
// shards are here.
func (s *Store) Begin(key record.FormKey, form record.Form, signed, index []byte) (*bitset.BitSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[key]; e != nil {
		return e.file.Have(), nil
	}
	parsed, err := fec.ParseIndex(index, form)
	if err != nil {
		return nil, err
	}
	if err := s.makeRoom(); err != nil {
		return nil, err
	}
	dir := s.path(key)
	if err := s.prepare(dir, index); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, bytesFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	have, err := s.begin(key, form, parsed, signed, index, dir, f)
	if err != nil {
		f.Close()
	}
	return have, err
}

func (s *Store) begin(key record.FormKey, form record.Form, parsed fec.Index, signed, index []byte, dir string, f *os.File) (*bitset.BitSet, error) {
	file, err := fec.NewFile(f, form, parsed, false)
	if err != nil {
		return nil, err
	}
	have := file.Have()
	missing := form.Size - int64(have.Count())*int64(form.Geometry.ShardBytes)
	if err := diskspace.Check(dir, max(missing, 0), s.reserve); err != nil {
		return nil, err
	}
	s.open[key] = &entry{file: file, signed: signed, index: index, dir: dir, used: time.Now()}
	return have, nil
}

// prepare makes the directory of a form; what is there of another index goes.
func (s *Store) prepare(dir string, index []byte) error {
	sum := strconv.FormatUint(xxhash.Sum64(index), 16)
	if held, err := os.ReadFile(filepath.Join(dir, indexFile)); err == nil && string(held) == sum {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, indexFile), []byte(sum), 0o600)
}

// makeRoom closes the form not used for the longest, if as many are open as may be.
func (s *Store) makeRoom() error {
	if len(s.open) < MaxOpen {
		return nil
	}
	var oldest *record.FormKey
	for key, e := range s.open {
		if e.dir == "" && (oldest == nil || e.used.Before(s.open[*oldest].used)) {
			oldest = &key
		}
	}
	if oldest == nil {
		return ErrBusy
	}
	s.open[*oldest].file.Close()
	delete(s.open, *oldest)
	return nil
}

// find returns a form that is open, or opens it where its owner keeps it.
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

// Put stores a shard of a form that was begun, and returns which others that restored.
func (s *Store) Put(key record.FormKey, n int, shard []byte) ([]int, error) {
	file, err := s.find(key, false)
	if err != nil {
		return nil, err
	}
	return file.Put(n, shard)
}

// Get reads a shard into buf, which has room for record.MaxShardBytes, and returns the
// part of it that the shard fills.
func (s *Store) Get(key record.FormKey, n int, buf []byte) ([]byte, error) {
	file, err := s.find(key, true)
	if err != nil {
		return nil, err
	}
	shard := buf[:file.Form().Geometry.ShardBytes]
	return shard, file.Get(n, shard)
}

// Fill stores all of a form that was begun, and returns which shards are here: all, if
// the bytes are the form's.
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

// OpenWhole opens the bytes of a form on its way of which all has come.
func (s *Store) OpenWhole(key record.FormKey) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.open[key]
	if e == nil || e.dir == "" || !e.file.Whole() {
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

// Stored is how many bytes of shards have come of forms on their way.
func (s *Store) Stored() (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.open {
		switch form := e.file.Form(); {
		case e.dir == "":
		case e.file.Whole():
			bytes += form.Size
		default:
			have := e.file.Have()
			for n, ok := have.NextSet(0); ok; n, ok = have.NextSet(n + 1) {
				if !form.Geometry.IsPadding(form.Size, int(n)) {
					bytes += int64(form.Geometry.ShardBytes)
				}
			}
		}
	}
	return bytes
}

// Offer is the manifest and the index of a form of a version that is on its way.
func (s *Store) Offer(v record.VersionKey, choice wire.FormChoice) (form uint8, signed, index []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for form := range uint8(record.MaxForms) {
		if !choice.Allows(form) {
			continue
		}
		if e := s.open[record.FormKey{VersionKey: v, Form: form}]; e != nil && e.dir != "" {
			return form, e.signed, e.index, true
		}
	}
	return 0, nil, nil, false
}

// Index is the index of a form that is whole.
func (s *Store) Index(key record.FormKey) ([]byte, error) {
	file, err := s.find(key, true)
	if err != nil {
		return nil, err
	}
	return file.Index().Bytes(), nil
}

// Finish checks a form that is complete and makes it durable. The caller moves the
// file away, and then calls Keep.
func (s *Store) Finish(key record.FormKey) (path string, index []byte, err error) {
	s.mu.Lock()
	e := s.open[key]
	s.mu.Unlock()
	if e == nil || e.dir == "" {
		return "", nil, ErrUnknown
	}
	return filepath.Join(e.dir, bytesFile), e.index, e.file.Finish()
}

// Keep goes on serving a form whose file was moved.
func (s *Store) Keep(key record.FormKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.open[key]
	if e == nil {
		return nil
	}
	dir := e.dir
	e.dir, e.signed, e.index = "", nil, nil
	return os.RemoveAll(dir)
}

// Drop forgets the forms of a version, and what has come of them.
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
		errs = append(errs, os.RemoveAll(s.path(key)))
	}
	return errors.Join(errs...)
}

// Prune removes what has come of forms that are not open and have not been touched
// for a while: nobody asks for them any more.
func (s *Store) Prune(age time.Duration) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	open := map[string]bool{}
	for _, e := range s.open {
		open[e.dir] = true
	}
	for _, d := range entries {
		path := filepath.Join(s.dir, d.Name())
		if info, err := os.Stat(filepath.Join(path, bytesFile)); open[path] || err == nil && time.Since(info.ModTime()) < age {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// Size is how many bytes forms on their way take on disk.
func (s *Store) Size() (bytes int64, err error) {
	err = filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

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
