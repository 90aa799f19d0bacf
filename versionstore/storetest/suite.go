// Package storetest is the conformance suite of versionstore.Store. The tests of every
// implementation call [Run].
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"banyan/fec"
	"banyan/mesh/tree"
	"banyan/record"
	"banyan/versionstore"
)

// Signer makes signed records for tests.
type Signer struct{ key record.Key }

// NewSigner returns a signer with a fixed key.
func NewSigner() Signer { return Signer{record.KeyFromSeed([32]byte{7})} }

// Manifest returns the manifest of version n of config, the signed manifest, and the body.
func (s Signer) Manifest(t testing.TB, config string, n uint64) (m record.Manifest, raw, body []byte) {
	body = fmt.Appendf(nil, "%s version %d", config, n)
	form, _, err := fec.FormOf(body)
	if err != nil {
		t.Fatal(err)
	}
	m = record.Manifest{
		Config:      config,
		Version:     n,
		Parent:      n - 1,
		BodySize:    int64(len(body)),
		BodySHA256:  record.Sum(body),
		Forms:       []record.Form{form},
		ContentType: "text/plain",
	}
	raw, err = record.SignManifest(m, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return m, raw, body
}

// Pointer returns the pointer of config in region with the given epoch and baseline, and
// the signed pointer.
func (s Signer) Pointer(t testing.TB, config, region string, epoch, version uint64) (record.Pointer, []byte) {
	m, _, _ := s.Manifest(t, config, version)
	p := record.Pointer{
		Config:     config,
		Region:     region,
		Term:       1,
		Epoch:      epoch,
		Baseline:   m.Ref(),
		Phase:      record.PhaseActive,
		TimeMicros: int64(epoch),
	}
	raw, err := record.SignPointer(p, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return p, raw
}

type suite struct {
	*testing.T
	Signer
	versionstore.Store
	ctx context.Context
}

// Run tests an implementation of versionstore.Store. open returns an empty store. reopen
// closes a store and opens it again on the same data.
func Run(
	t *testing.T,
	open func(t *testing.T) versionstore.Store,
	reopen func(t *testing.T, s versionstore.Store) versionstore.Store,
) {
	for name, test := range map[string]func(*suite){
		"versions are numbered by compare and swap": versionsByCAS,
		"epochs move by compare and swap":           epochsByCAS,
		"one of many racing writers wins":           oneWins,
		"history and listings":                      listings,
		"pointers are listed page by page":          pointerPages,
		"watch reports every write in order":        watch,
		"watch reports a transaction whole":         watchWhole,
		"transactions happen whole or not at all":   transactions,
		"removals":                            removals,
		"recoveries":                          recoveries,
		"agent indices are never given twice": indices,
		"missing entries are not found":       missing,
		"a cancelled context writes nothing":  cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(&suite{t, NewSigner(), s, t.Context()})
		})
	}
	t.Run("acknowledged writes are there after reopening", func(t *testing.T) {
		s := &suite{t, NewSigner(), open(t), t.Context()}
		for n := uint64(1); n <= 5; n++ {
			s.put("a", n)
			s.move("a", "eu", n, n)
		}
		before, _ := s.Revision(s.ctx)
		s.Store = reopen(t, s.Store)
		if v, err := s.Version(s.ctx, "a", 0); err != nil || v.Manifest.Version != 5 || v.By != "tester" {
			t.Errorf("last version: %+v, %v", v, err)
		}
		if p, err := s.Store.Pointer(s.ctx, "a", "eu"); err != nil || p.Pointer.Epoch != 5 {
			t.Errorf("pointer: %+v, %v", p, err)
		}
		if after, err := s.Revision(s.ctx); err != nil || after != before {
			t.Errorf("revision %d after %d, %v", after, before, err)
		}
		s.put("a", 6)
	})
}

func (s *suite) put(config string, n uint64) uint64 {
	s.Helper()
	m, raw, _ := s.Signer.Manifest(s.T, config, n)
	revision, err := PutManifest(s.ctx, s.Store, m, raw, "tester")
	if err != nil {
		s.Fatalf("put %s version %d: %v", config, n, err)
	}
	return revision
}

func (s *suite) move(config, region string, epoch, version uint64) uint64 {
	s.Helper()
	revision, err := s.commitPointer(config, region, epoch, version)
	if err != nil {
		s.Fatalf("move %s in %s to epoch %d: %v", config, region, epoch, err)
	}
	return revision
}

// commitPointer commits a transaction with one pointer.
func (s *suite) commitPointer(config, region string, epoch, version uint64) (revision uint64, err error) {
	p, raw := s.Signer.Pointer(s.T, config, region, epoch, version)
	pointers := []versionstore.SignedPointer{{Pointer: p, Raw: raw}}
	return s.Commit(s.ctx, versionstore.Transaction{Term: 1, Pointers: pointers, By: "tester"})
}

func versionsByCAS(s *suite) {
	first := s.put("a", 1)
	if second := s.put("a", 2); second <= first {
		s.Errorf("revision %d after %d", second, first)
	}
	for _, wrong := range []uint64{1, 2, 4} {
		m, raw, _ := s.Signer.Manifest(s.T, "a", wrong)
		_, err := PutManifest(s.ctx, s.Store, m, raw, "another")
		var c *versionstore.ConflictError
		if !errors.As(err, &c) || c.Current != 2 || c.Wanted != wrong || c.By != "tester" || c.At.IsZero() {
			s.Errorf("version %d: got %v, want a conflict that names the writer of version 2", wrong, err)
		}
	}
	want, raw, _ := s.Signer.Manifest(s.T, "a", 2)
	got, err := s.Version(s.ctx, "a", 2)
	if err != nil || !reflect.DeepEqual(got.Manifest, want) || !slices.Equal(got.Raw, raw) {
		s.Errorf("version 2 read back as %+v, %v", got, err)
	}
}

func epochsByCAS(s *suite) {
	s.put("a", 1)
	s.put("a", 2)
	s.move("a", "eu", 1, 1)
	s.move("a", "us", 1, 1)
	s.move("a", "eu", 2, 2)
	s.move("a", "eu", 3, 1) // a rollback is a new epoch
	for _, wrong := range []uint64{1, 3, 5} {
		_, err := s.commitPointer("a", "eu", wrong, 1)
		var c *versionstore.ConflictError
		if !errors.As(err, &c) || c.Current != 3 || c.Region != "eu" {
			s.Errorf("epoch %d: got %v, want a conflict with epoch 3", wrong, err)
		}
	}
	if _, err := s.commitPointer("a", "eu", 4, 9); !errors.Is(err, versionstore.ErrNotFound) {
		s.Errorf("pointer to a version that does not exist: %v", err)
	}
	if got, err := s.Store.Pointer(s.ctx, "a", "us"); err != nil || got.Pointer.Epoch != 1 {
		s.Errorf("the other region's pointer: %+v, %v", got, err)
	}
}

func oneWins(s *suite) {
	const writers, rounds = 8, 5
	for n := uint64(1); n <= rounds; n++ {
		var won, lost int
		var mu sync.Mutex
		var group sync.WaitGroup
		for range writers {
			m, raw, _ := s.Signer.Manifest(s.T, "a", n)
			group.Go(func() {
				_, err := PutManifest(s.ctx, s.Store, m, raw, "racer")
				mu.Lock()
				defer mu.Unlock()
				var c *versionstore.ConflictError
				switch {
				case err == nil:
					won++
				case errors.As(err, &c):
					lost++
				default:
					s.Errorf("unexpected: %v", err)
				}
			})
		}
		group.Wait()
		if won != 1 || lost != writers-1 {
			s.Fatalf("version %d: %d writers won and %d got a conflict", n, won, lost)
		}
	}
}

func listings(s *suite) {
	for _, config := range []string{"b", "a/x", "a", "ab", "a/y"} {
		s.put(config, 1)
	}
	for n := uint64(2); n <= 5; n++ {
		s.put("a", n)
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 0, []string{"a", "a/x", "a/y", "ab", "b"}},
		{"a", "", 0, []string{"a", "a/x", "a/y"}},
		{"a/", "", 0, []string{"a", "a/x", "a/y"}},
		{"", "a/x", 2, []string{"a/y", "ab"}},
		{"zz", "", 0, nil},
	} {
		if got, err := s.Configs(s.ctx, c.prefix, c.after, c.limit); err != nil || !slices.Equal(got, c.want) {
			s.Errorf("Configs(%q, %q, %d) = %v, %v; want %v", c.prefix, c.after, c.limit, got, err, c.want)
		}
	}
	numbers := func(before uint64, limit int) (out []uint64) {
		versions, err := s.History(s.ctx, "a", before, limit)
		if err != nil {
			s.Errorf("history: %v", err)
		}
		for _, v := range versions {
			out = append(out, v.Manifest.Version)
		}
		return out
	}
	if got := numbers(0, 3); !slices.Equal(got, []uint64{5, 4, 3}) {
		s.Errorf("history: %v", got)
	}
	if got := numbers(3, 9); !slices.Equal(got, []uint64{2, 1}) {
		s.Errorf("history before 3: %v", got)
	}
}

func pointerPages(s *suite) {
	regions := []string{"eu", "us"}
	for _, config := range []string{"a", "b", "c"} {
		s.put(config, 1)
		for _, region := range regions {
			s.move(config, region, 1, 1)
		}
	}
	pages := func(region string, limit int) (names [][]string) {
		since := uint64(0)
		for {
			page, err := s.Store.Pointers(s.ctx, region, since, limit)
			if err != nil {
				s.Fatalf("pointers of region %q after revision %d: %v", region, since, err)
			}
			if len(page) == 0 {
				return names
			}
			var listed []string
			for _, p := range page {
				listed = append(listed, p.Pointer.Config+" "+p.Pointer.Region)
			}
			names = append(names, listed)
			since = page[len(page)-1].Revision
		}
	}
	for _, c := range []struct {
		region string
		limit  int
		want   [][]string
	}{
		{"eu", 2, [][]string{{"a eu", "b eu"}, {"c eu"}}},
		{"", 4, [][]string{{"a eu", "a us", "b eu", "b us"}, {"c eu", "c us"}}},
		{"us", 0, [][]string{{"a us", "b us", "c us"}}},
		{"ap", 2, nil},
	} {
		if got := pages(c.region, c.limit); !reflect.DeepEqual(got, c.want) {
			s.Errorf("pointers of region %q, %d at a time: %v, want %v", c.region, c.limit, got, c.want)
		}
	}
}

func watch(s *suite) {
	s.put("a", 1)
	s.put("a", 2)
	s.move("a", "eu", 1, 1)
	middle := s.move("a", "us", 1, 1)
	s.move("a", "eu", 2, 2)

	since, err := s.Store.Pointers(s.ctx, "eu", 0, 0)
	if err != nil || len(since) != 1 || since[0].Pointer.Epoch != 2 {
		s.Errorf("pointers of eu: %+v, %v; want the newest alone", since, err)
	}
	if all, err := s.Store.Pointers(s.ctx, "", 0, 0); err != nil || len(all) != 2 || all[0].Revision > all[1].Revision {
		s.Errorf("pointers of every region: %+v, %v", all, err)
	}
	if later, err := s.Store.Pointers(s.ctx, "us", middle, 0); err != nil || len(later) != 0 {
		s.Errorf("pointers of us after its last: %+v, %v", later, err)
	}

	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	events := make(chan versionstore.Event, 100)
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, 0, func(together []versionstore.Event) error {
			for _, e := range together {
				events <- e
			}
			return nil
		})
	}()
	last := uint64(0)
	next := func() versionstore.Event {
		s.Helper()
		select {
		case e := <-events:
			if e.Revision <= last {
				s.Errorf("revision %d after %d", e.Revision, last)
			}
			last = e.Revision
			return e
		case <-ctx.Done():
			s.Fatal("no event came")
			return versionstore.Event{}
		}
	}
	for range 4 { // two versions, and the newest pointer of each of two regions
		next()
	}
	s.move("a", "eu", 3, 1)
	if e := next(); e.Pointer == nil || e.Pointer.Pointer.Epoch != 3 {
		s.Errorf("live event: %+v", e)
	}
	s.put("b", 1)
	if e := next(); e.Version == nil || e.Version.Manifest.Config != "b" {
		s.Errorf("live event: %+v", e)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		s.Errorf("watch ended with %v", err)
	}
}

func indices(s *suite) {
	seen := map[uint32]bool{}
	for range 20 {
		first, err := s.ReserveIndices(s.ctx, "eu")
		if err != nil {
			s.Fatal(err)
		}
		if first%tree.IndexBlock != 0 || first/tree.IndexBlock >= tree.IndexBlocks {
			s.Errorf("index %d does not begin a block", first)
		}
		if seen[first] {
			s.Errorf("block %d was reserved twice", first)
		}
		seen[first] = true
	}
	if _, err := s.ReserveIndices(s.ctx, "eu-2"); err != nil {
		s.Errorf("another region: %v", err)
	}
}

func missing(s *suite) {
	s.put("a", 1)
	for name, err := range map[string]error{
		"config":  second(s.Version(s.ctx, "nope", 0)),
		"version": second(s.Version(s.ctx, "a", 2)),
		"pointer": second(s.Store.Pointer(s.ctx, "a", "eu")),
		"history": second(s.History(s.ctx, "nope", 0, 1)),
	} {
		if !errors.Is(err, versionstore.ErrNotFound) {
			s.Errorf("missing %s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func cancelled(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	m, raw, _ := s.Signer.Manifest(s.T, "a", 1)
	if _, err := PutManifest(ctx, s.Store, m, raw, "x"); !errors.Is(err, context.Canceled) {
		s.Errorf("write under a cancelled context: %v", err)
	}
	s.put("a", 1)
}

// watchWhole tests that a watcher gets the writes of a transaction together.
func watchWhole(s *suite) {
	for n := uint64(1); n <= 2; n++ {
		s.put("a", n)
	}
	t := versionstore.Transaction{Term: 1, By: "tester"}
	for _, region := range []string{"eu", "us", "ap"} {
		p, raw := s.Signer.Pointer(s, "a", region, 1, 1)
		t.Pointers = append(t.Pointers, versionstore.SignedPointer{Pointer: p, Raw: raw})
	}
	m, raw, _ := s.Signer.Manifest(s, "a", 3)
	t.Versions = []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "tester"}}
	before, err := s.Revision(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	revision, err := s.Commit(s.ctx, t)
	if err != nil {
		s.Fatal(err)
	}
	later := s.move("a", "us", 2, 2)
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	enough := errors.New("enough")
	var got [][]uint64
	err = s.Watch(ctx, before, func(events []versionstore.Event) error {
		var revisions []uint64
		for _, e := range events {
			revisions = append(revisions, e.Revision)
		}
		got = append(got, revisions)
		if slices.Contains(revisions, later) {
			return enough
		}
		return nil
	})
	// The first move of us may be left out, because us moved again.
	whole := len(got) == 2 && len(got[1]) == 1 && (len(got[0]) == 3 || len(got[0]) == 4)
	if !errors.Is(err, enough) || !whole || got[0][0] != revision {
		s.Errorf("the watcher got the revisions %v, %v; want those of %d together, then %d", got, err, revision, later)
	}
}
