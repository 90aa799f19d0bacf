package coordinator

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/record"
	"banyan/versionstore"
)

func TestWhatIsNeededStays(t *testing.T) {
	history := func(ages ...int) (all []versionstore.Version) {
		for i, age := range ages {
			m := record.Manifest{Version: uint64(len(ages) - i)}
			all = append(all, versionstore.Version{Manifest: m, At: time.Unix(int64(1000-age), 0)})
		}
		return all
	}
	before := time.Unix(900, 0)
	old := history(200, 200, 200, 200, 200, 200)
	for name, test := range map[string]struct {
		history []versionstore.Version
		needs   needs
		keep    int
		want    []uint64
	}{
		"the newest two stay":          {old, needs{}, 2, []uint64{1, 2, 3, 4}},
		"a named version stays":        {old, needs{named: map[uint64]bool{3: true}}, 1, []uint64{1, 2, 4, 5}},
		"what ran last and well stays": {old, needs{ran: [][]uint64{{2, 1}, {3}}}, 1, []uint64{1, 4, 5}},
		"the young stay":               {history(1, 50, 200, 200), needs{}, 1, []uint64{1, 2}},
		"a deleted config goes":        {old, needs{deleted: true, ran: [][]uint64{{2}}}, 9, []uint64{1, 2, 3, 4, 5, 6}},
		"unless a version is young":    {history(1, 200), needs{deleted: true}, 1, nil},
	} {
		if test.needs.named == nil {
			test.needs.named = map[uint64]bool{}
		}
		if got := collectable(test.history, test.needs, test.keep, before); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v can go, want %v", name, got, test.want)
		}
	}
}

func TestACollectionRemovesWhatNothingNames(t *testing.T) {
	f := newFixture(t, nil)
	for _, body := range []string{"1", "2", "3", "4", "5", "6"} {
		f.publish("a", body)
	}
	f.activate("a", 2)
	f.activate("a", 4)
	if err := f.ledger.NoteRan(f.ctx, record.PointerKey{Config: "a", Region: "eu"}, nil); err != nil {
		t.Fatal(err)
	}
	f.publish("gone", `"x"`)
	f.activate("gone", 1)
	if _, err := f.alice.Delete(f.ctx, "gone", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	orphan := []byte(`"nobody stores a version of this"`)
	if err := f.blobs.Put(f.ctx, record.Sum(orphan), int64(len(orphan)), bytes.NewReader(orphan)); err != nil {
		t.Fatal(err)
	}
	in := api.Collect{Keep: 1, OlderThan: quantity.Duration(time.Nanosecond), DryRun: true}
	want := api.Collected{
		DryRun:   true,
		Versions: 5,
		Configs: []api.CollectedConfig{
			{Config: "a", Versions: []uint64{1, 2, 3, 5}}, // 4 ran last and well; 6 is the newest
			{Config: "gone", Versions: []uint64{1}, Freed: true},
		},
	}
	got, err := f.alice.Collect(f.ctx, in)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("a dry run says\n%+v, %v, want\n%+v", got, err, want)
	}
	if _, err := f.alice.Version(f.ctx, "a", 1); err != nil {
		t.Errorf("a dry run removed a version: %v", err)
	}

	// Bodies are kept for a day, in which their version may come.
	f.ageBodies(2 * uploadAge)
	if err := f.blobs.Put(f.ctx, record.Sum([]byte("5")), 1, bytes.NewReader([]byte("5"))); err != nil {
		t.Fatal(err) // uploaded again just now
	}
	in.DryRun = false
	want.DryRun = false
	want.Bodies = 5
	want.Bytes = int64(len(orphan) + len(`"x"`) + 3)
	got, err = f.alice.Collect(f.ctx, in)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("the collection says\n%+v, %v, want\n%+v", got, err, want)
	}
	history, err := f.alice.History(f.ctx, "a", 10)
	if err != nil || len(history) != 2 || history[0].Manifest.Version != 6 || history[1].Manifest.Version != 4 {
		t.Errorf("the history is %+v, %v", history, err)
	}
	r, err := f.alice.Body(f.ctx, "a", 4)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	r.Close()
	if err != nil || string(body) != "4" {
		t.Errorf("the body of the running version is %q, %v", body, err)
	}
	if names, err := f.alice.Configs(f.ctx, ""); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("the configs are %v, %v", names, err)
	}
	if f.blobs.Has(record.Sum(orphan)) || !f.blobs.Has(record.Sum([]byte("5"))) {
		t.Error("the orphan stays, or a body that was just uploaded goes")
	}
	log, err := f.alice.Log(f.ctx, api.LogQuery{Limit: 1})
	if err != nil || len(log) != 1 || log[0].What != "collected 5 versions and 5 bodies of 39 bytes" {
		t.Errorf("the log says %+v, %v", log, err)
	}

	// The name is free, and its epochs go on.
	deletion, err := f.ledger.Pointer(f.ctx, "gone", "eu")
	if err != nil {
		t.Fatal(err)
	}
	if version := f.publish("gone", `"y"`); version != 1 {
		t.Errorf("the first version of a name that is free again is %d", version)
	}
	f.activate("gone", 1)
	if got := f.epoch("gone"); got != deletion.Pointer.Epoch+1 {
		t.Errorf("epoch %d after %d", got, deletion.Pointer.Epoch)
	}
	again, err := f.alice.Collect(f.ctx, in)
	if err != nil || again.Versions != 0 {
		t.Errorf("a second collection removes %+v, %v", again, err)
	}
}

// A deletion can be taken back for as long as an old version stays: the age of a version that ran
// for a year says nothing of the deletion of today.
func TestTruthACollectionKeepsWhatWasDeletedJustNow(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", "1")
	f.activate("a", 1)
	stored := time.Now()
	if _, err := f.alice.Delete(f.ctx, "a", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	run := &collection{
		collector: &collector{ledger: f.ledger, policy: f.Policy()},
		before:    stored,
	}
	n, err := run.needsOf(f.ctx, "a")
	if err != nil || n.deleted {
		t.Errorf("needs %+v of a config that was deleted just now, %v", n, err)
	}
	run.before = time.Now()
	n, err = run.needsOf(f.ctx, "a")
	if err != nil || !n.deleted {
		t.Errorf("needs %+v of a config that was deleted before, %v", n, err)
	}
}

// ageBodies makes all stored bodies older.
func (f *fixture) ageBodies(age time.Duration) {
	f.t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.cfg.DataDir, "blobs", "??", "*"))
	if err != nil || len(paths) == 0 {
		f.t.Fatalf("%d bodies, %v", len(paths), err)
	}
	at := time.Now().Add(-age)
	for _, path := range paths {
		if err := os.Chtimes(path, at, at); err != nil {
			f.t.Fatal(err)
		}
	}
}
