package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/etcdstore/etcdtest"
	"banyan/versionstore/storetest"
)

// twins are two stores that are given the same operations.
type twins struct {
	ctx    context.Context
	sign   storetest.Signer
	stores [2]versionstore.Store
	// revisions are the revisions that the stores returned for the same transactions.
	revisions [2][]uint64
	term      uint64
}

// Random operations have the same outcome in both stores, and both stores answer every question alike.
func TestTruthBadgerAndEtcdAgree(t *testing.T) {
	c := etcdtest.Start(t, 1)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		embedded, err := versionstore.OpenBadger(fmt.Sprintf("%s/%d", t.TempDir(), n), embeddb.Options{MemTable: 1 << 20})
		if err != nil {
			rt.Fatal(err)
		}
		defer embedded.Close()
		s := open(t, c, fmt.Sprintf("/twin/%d/", n))
		defer s.Close()
		w := &twins{ctx: t.Context(), sign: storetest.NewSigner(), term: 1}
		w.stores = [2]versionstore.Store{embedded, s}
		for range rapid.IntRange(1, 25).Draw(rt, "operations") {
			w.operate(rt, t)
		}
		w.compareListings(rt)
		w.compareWatches(rt, t)
	})
}

var (
	someConfigs = []string{"a", "a/b", "a-b", "b"}
	someRegions = []string{"eu", "us"}
	someKinds   = []string{"k", "l"}
)

func (w *twins) operate(rt *rapid.T, t *testing.T) {
	if rapid.IntRange(0, 20).Draw(rt, "raise") == 0 {
		atLeast := rapid.Uint64Range(0, 5).Draw(rt, "at least")
		w.both(rt, "RaiseTerm", func(s versionstore.Store) (any, error) { return s.RaiseTerm(w.ctx, atLeast) })
		w.term = must(w.stores[0].Term(w.ctx))
	}
	tx := w.transaction(rt, t)
	var outcomes [2]error
	for i, s := range w.stores {
		revision, err := s.Commit(w.ctx, tx)
		outcomes[i] = err
		if err == nil {
			w.revisions[i] = append(w.revisions[i], revision)
		}
	}
	if a, b := meaning(outcomes[0]), meaning(outcomes[1]); a != b {
		rt.Fatalf("commit of %s:\nBadger: %s\netcd:   %s", describe(tx), a, b)
	}
}

// transaction draws a transaction: most often one that can succeed, in a part or in all.
func (w *twins) transaction(rt *rapid.T, t *testing.T) versionstore.Transaction {
	tx := versionstore.Transaction{Term: w.term, By: rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "by")}
	if rapid.IntRange(0, 15).Draw(rt, "other term") == 0 {
		tx.Term = rapid.Uint64Range(1, 7).Draw(rt, "term")
	}
	off := func(what string, right uint64) uint64 {
		if rapid.IntRange(0, 9).Draw(rt, "wrong "+what) == 0 {
			return rapid.Uint64Range(0, 6).Draw(rt, what)
		}
		return right
	}
	config := rapid.SampledFrom(someConfigs).Draw(rt, "config")
	newest := uint64(0)
	if v, err := w.stores[0].Version(w.ctx, config, 0); err == nil {
		newest = v.Manifest.Version
	}
	switch rapid.IntRange(0, 3).Draw(rt, "what") {
	case 0, 1:
		number := max(off("version", newest+1), 1)
		m, raw, _ := w.sign.Manifest(t, config, number)
		tx.Versions = []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: tx.By}}
		newest = max(newest, number)
	case 2:
		removed := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 6), 1, 4, rapid.ID[uint64]).Draw(rt, "removed")
		tx.Removals = []versionstore.Removal{{Config: config, Versions: removed}}
	}
	recovers := rapid.IntRange(0, 7).Draw(rt, "recovers") == 0
	if recovers {
		tx.Recovered.Versions = tx.Versions
		tx.Versions = nil
	}
	for _, region := range someRegions {
		if len(tx.Removals) > 0 || !rapid.Bool().Draw(rt, "move "+region) {
			continue
		}
		epoch := uint64(0)
		if p, err := w.stores[0].Pointer(w.ctx, config, region); err == nil {
			epoch = p.Pointer.Epoch
		}
		p, raw := w.sign.Pointer(t, config, region, max(off("epoch", epoch+1), 1), max(off("named", newest), 1))
		signed := versionstore.SignedPointer{Pointer: p, Raw: raw}
		if recovers {
			tx.Recovered.Pointers = append(tx.Recovered.Pointers, signed)
		} else {
			tx.Pointers = append(tx.Pointers, signed)
		}
	}
	for _, kind := range someKinds {
		name := rapid.SampledFrom([]string{"x", "x y", "y"}).Draw(rt, "name")
		seq := uint64(0)
		if d, err := w.stores[0].Document(w.ctx, kind, name); err == nil {
			seq = d.Seq
		}
		seq = off("seq", seq)
		switch rapid.IntRange(0, 4).Draw(rt, "document") {
		case 0, 1:
			tx.Documents = append(tx.Documents, versionstore.DocumentWrite{Kind: kind, Name: name, Raw: []byte(tx.By), IfSeq: seq})
		case 2:
			tx.Documents = append(tx.Documents, versionstore.DocumentWrite{Kind: kind, Name: name, IfSeq: seq})
		case 3:
			tx.Guards = append(tx.Guards, versionstore.Guard{Kind: kind, Name: name, Seq: seq})
		}
	}
	return tx
}

// both gives both stores a question and compares the answers.
func (w *twins) both(rt *rapid.T, what string, ask func(versionstore.Store) (any, error)) {
	a, errA := ask(w.stores[0])
	b, errB := ask(w.stores[1])
	if meaning(errA) != meaning(errB) {
		rt.Fatalf("%s:\nBadger: %v\netcd:   %v", what, errA, errB)
	}
	if errA == nil && !reflect.DeepEqual(a, b) {
		rt.Fatalf("%s:\nBadger: %+v\netcd:   %+v", what, a, b)
	}
}

// compareListings asks both stores for everything that they can list.
func (w *twins) compareListings(rt *rapid.T) {
	for _, config := range append(someConfigs, "none") {
		for version := range uint64(8) {
			w.both(rt, fmt.Sprint("Version ", config, version), func(s versionstore.Store) (any, error) {
				v, err := s.Version(w.ctx, config, version)
				return w.plainVersion(s, v), err
			})
		}
		before := rapid.Uint64Range(0, 6).Draw(rt, "before")
		limit := rapid.IntRange(0, 3).Draw(rt, "limit")
		w.both(rt, fmt.Sprint("History ", config, before, limit), func(s versionstore.Store) (any, error) {
			history, err := s.History(w.ctx, config, before, limit)
			var plain []any
			for _, v := range history {
				plain = append(plain, w.plainVersion(s, v))
			}
			return plain, err
		})
		for _, region := range someRegions {
			w.both(rt, "Pointer "+config+" "+region, func(s versionstore.Store) (any, error) {
				p, err := s.Pointer(w.ctx, config, region)
				return w.plainPointer(s, p), err
			})
		}
		after := rapid.SampledFrom(append(someConfigs, "")).Draw(rt, "after")
		w.both(rt, "Configs "+config+" "+after, func(s versionstore.Store) (any, error) {
			return s.Configs(w.ctx, config, after, limit)
		})
	}
	for _, kind := range someKinds {
		prefix := rapid.SampledFrom([]string{"", "x", "x ", "z"}).Draw(rt, "prefix")
		after := rapid.SampledFrom([]string{"", "w", "x", "x y", "z"}).Draw(rt, "after")
		limit := rapid.IntRange(0, 2).Draw(rt, "limit")
		w.both(rt, fmt.Sprintf("List %s %q %q %d", kind, prefix, after, limit), func(s versionstore.Store) (any, error) {
			all, err := s.List(w.ctx, kind, prefix, after, limit)
			for i := range all {
				all[i].At = time.Time{}
			}
			return all, err
		})
	}
	for _, region := range append(someRegions, "") {
		w.both(rt, "Pointers "+region, func(s versionstore.Store) (any, error) {
			states, err := versionstore.AllPointers(w.ctx, s, region)
			return w.plainPointers(s, states), err
		})
	}
	w.both(rt, "Term", func(s versionstore.Store) (any, error) { return s.Term(w.ctx) })
}

// compareWatches watches both stores from the same transaction on, to the end.
func (w *twins) compareWatches(rt *rapid.T, t *testing.T) {
	if len(w.revisions[0]) == 0 {
		return
	}
	from := rapid.IntRange(0, len(w.revisions[0])).Draw(rt, "watch from")
	w.both(rt, fmt.Sprint("Watch from transaction ", from), func(s versionstore.Store) (any, error) {
		since := uint64(0)
		if from > 0 {
			since = w.revisions[w.indexOf(s)][from-1]
		}
		var seen []any
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		end := errors.New("the end")
		sentinel := fmt.Sprint("end of ", since)
		m, raw, _ := w.sign.Manifest(t, "zz", must(next(w.ctx, s, "zz")))
		_, err := storetest.PutManifest(ctx, s, m, raw, sentinel)
		if err != nil {
			return nil, err
		}
		err = s.Watch(ctx, since, func(events []versionstore.Event) error {
			var together []string
			for _, e := range events {
				switch {
				case e.Version != nil && e.Version.Manifest.Config == "zz":
					return end
				case e.Version != nil:
					together = append(together, fmt.Sprint(w.plainVersion(s, *e.Version)))
				default:
					together = append(together, fmt.Sprint(w.plainPointer(s, *e.Pointer)))
				}
			}
			slices.Sort(together)
			seen = append(seen, together)
			return nil
		})
		if !errors.Is(err, end) {
			return nil, err
		}
		return seen, nil
	})
}

// next returns the number of the next version of config.
func next(ctx context.Context, s versionstore.Store, config string) (uint64, error) {
	v, err := s.Version(ctx, config, 0)
	if errors.Is(err, versionstore.ErrNotFound) {
		err = nil
	}
	return v.Manifest.Version + 1, err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *twins) indexOf(s versionstore.Store) int { return slices.Index(w.stores[:], s) }

// ordinal returns the number of the transaction with a revision: the two stores count differently.
func (w *twins) ordinal(s versionstore.Store, revision uint64) int {
	return slices.Index(w.revisions[w.indexOf(s)], revision)
}

func (w *twins) plainVersion(s versionstore.Store, v versionstore.Version) any {
	return fmt.Sprint(v.Manifest, v.By, len(v.Raw), w.ordinal(s, v.Revision))
}

func (w *twins) plainPointer(s versionstore.Store, p versionstore.PointerState) any {
	return fmt.Sprint(p.Pointer, p.By, len(p.Raw), w.ordinal(s, p.Revision))
}

// plainPointers returns pointers in an order that does not depend on the order within a transaction.
func (w *twins) plainPointers(s versionstore.Store, states []versionstore.PointerState) []string {
	var plain []string
	for _, p := range states {
		plain = append(plain, fmt.Sprintf("%06d %v", w.ordinal(s, p.Revision), w.plainPointer(s, p)))
	}
	if !slices.IsSortedFunc(states, func(a, b versionstore.PointerState) int { return int(a.Revision) - int(b.Revision) }) {
		plain = append(plain, "not ordered by revision")
	}
	slices.Sort(plain)
	return plain
}

// meaning returns what a caller can tell from an error.
func meaning(err error) string {
	var conflict *versionstore.ConflictError
	var fenced *versionstore.FencedError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &conflict):
		c := *conflict
		c.At = time.Time{}
		return fmt.Sprintf("conflict %+v", c)
	case errors.As(err, &fenced):
		return fmt.Sprintf("fenced %+v", *fenced)
	}
	for _, known := range []error{
		versionstore.ErrNotFound, versionstore.ErrInUse, versionstore.ErrName, versionstore.ErrTransaction, record.ErrTooLarge,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "unexpected: " + err.Error()
}

func describe(t versionstore.Transaction) string {
	s := fmt.Sprintf("term %d", t.Term)
	for _, v := range t.Versions {
		s += fmt.Sprintf(", version %d of %s", v.Manifest.Version, v.Manifest.Config)
	}
	for _, p := range t.Pointers {
		s += ", pointer " + p.Pointer.String() + " of " + p.Pointer.Config + " in " + p.Pointer.Region
	}
	for _, v := range t.Recovered.Versions {
		s += fmt.Sprintf(", recovered version %d of %s", v.Manifest.Version, v.Manifest.Config)
	}
	for _, p := range t.Recovered.Pointers {
		s += ", recovered pointer " + p.Pointer.String() + " of " + p.Pointer.Config + " in " + p.Pointer.Region
	}
	return s + fmt.Sprintf(", documents %+v, removals %+v, guards %+v", t.Documents, t.Removals, t.Guards)
}
