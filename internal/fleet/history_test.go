package fleet_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/fec"
	"banyan/internal/embeddb"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/internal/quantity"
	"banyan/record"
	"banyan/transport/emulated"
	"banyan/versionstore"
)

// restored is a fleet whose leader can be put back to an older copy of its data.
type restored struct {
	*fleettest.Fleet
	t      *testing.T
	dir    string // data of the leader
	backup string
}

// newRestored returns a fleet of three hosts in each region that run "one", version 1 of a, and a
// backup of the leader from that time.
func newRestored(t *testing.T, regions ...string) *restored {
	f := fleettest.Start(t, fleet.Config{
		Agents:      3 * len(regions),
		Regions:     regions,
		Fanout:      2,
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		Link:        &emulated.Link{}, // hosts can be cut off
	})
	r := &restored{Fleet: f, t: t, dir: filepath.Join(f.Config.Dir, "coordinator-eu"), backup: t.TempDir()}
	r.publish("one")
	r.with(func() { copyDir(t, r.dir, r.backup) })
	return r
}

// publish makes text the newest version of a, and waits until status and hosts say so.
func (r *restored) publish(text string) {
	r.t.Helper()
	r.Announce("a", []byte(text))
	r.agree(text)
}

// with calls fn while the leader is down.
func (r *restored) with(fn func()) {
	r.t.Helper()
	if err := r.RestartCoordinatorAfter(0, fn); err != nil {
		r.t.Fatal(err)
	}
	r.WaitAttached()
}

// restore puts the leader's data back to the backup.
func (r *restored) restore() {
	r.t.Helper()
	r.with(func() {
		if err := os.RemoveAll(r.dir); err != nil {
			r.t.Fatal(err)
		}
		copyDir(r.t, r.backup, r.dir)
	})
}

// agree waits until status says that all hosts run the newest version, and then checks that
// they show text.
func (r *restored) agree(text string) {
	r.t.Helper()
	r.Until("all hosts are applied", func() bool {
		s, err := r.Client.ConfigStatus(r.t.Context(), "a")
		if err != nil || len(s.Regions) != len(r.Config.Regions) {
			return false
		}
		for _, region := range s.Regions {
			if region.Applied != 3 || region.Agents != 3 || region.Failed != 0 || region.Version != s.Regions[0].Version {
				return false
			}
		}
		return true
	})
	r.shows(text)
	body, err := r.Client.Body(r.t.Context(), "a", r.running())
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	if stored, err := io.ReadAll(body); err != nil || string(stored) != text {
		r.t.Errorf("the running version is %q: %v; the hosts show %q", stored, err, text)
	}
}

func (r *restored) running() uint64 {
	s, err := r.Client.ConfigStatus(r.t.Context(), "a")
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Regions[0].Version
}

func (r *restored) shows(text string) {
	r.t.Helper()
	for i := range r.Agents {
		if got, err := os.ReadFile(r.Path(i, "a", "value")); err != nil || string(got) != text {
			r.t.Errorf("host %d shows %q, want %q: %v", i, got, text, err)
		}
	}
}

// waitStopped waits until the leader has noticed that its history is not that of the hosts.
func (r *restored) waitStopped() {
	r.t.Helper()
	r.Until("the leader stops writing", func() bool {
		s, err := r.Client.Status(r.t.Context())
		return err == nil && s.Stopped != ""
	})
	var refused *api.Error
	d := api.Draft{Config: "a", Body: []byte("three"), ContentType: draft.TypeText}
	_, err := r.Client.Publish(r.t.Context(), d, r.Key)
	if !errors.As(err, &refused) || refused.Code != api.CodeUnavailable {
		r.t.Errorf("a publish over a store that is behind: %v", err)
	}
}

// After a restore, the store has another version 2 than the hosts. The leader says so, and takes
// version 2 of the hosts back.
func TestTruthARestoredStoreTakesTheHistoryOfTheHosts(t *testing.T) {
	r := newRestored(t, "eu")
	r.publish("A")
	r.restore()
	r.waitStopped()
	r.shows("A")
	s, err := r.Client.ConfigStatus(t.Context(), "a")
	if err != nil || s.Regions[0].Version != 1 || s.Regions[0].Applied != 0 {
		t.Errorf("the restored leader says %+v, %v: nobody runs its version 1", s, err)
	}
	out, err := r.Client.Recover(t.Context(), api.Recover{Message: "the disk died"})
	if err != nil || len(out.Recovered) != 1 || len(out.Failed) != 0 || out.Term != 2 {
		t.Fatalf("recovered %+v, %v", out, err)
	}
	r.agree("A")
	r.publish("B")
	if r.running() != 3 {
		t.Errorf("version %d runs after the recovery, want 3", r.running())
	}
}

// A restored leader does not write before it has heard of a host: only hosts know that the store is
// an old copy. A request waits, and says for whom.
func TestTruthARestoredLeaderWaitsForItsHosts(t *testing.T) {
	r := newRestored(t, "eu")
	r.Config.OnCoordinator = func(_ string, c *coordinator.Config) { c.HostWait = time.Hour }
	r.publish("A")
	r.stopAgents()
	r.restore()
	s, err := r.Client.ConfigStatus(t.Context(), "a")
	if err != nil || !strings.Contains(s.Waiting, "none of its 3 hosts in eu") || s.Stopped != "" {
		t.Errorf("status of a leader without hosts: %+v, %v", s, err)
	}
	waited := false
	r.Client.Waiting = func(*api.Error) { waited = true }
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	d := api.Draft{Config: "a", Body: []byte("B"), ContentType: draft.TypeText}
	if _, _, err := r.Publish(ctx, d); !waited || err == nil {
		t.Errorf("a publish while nobody was heard of: %v; waited: %v", err, waited)
	}
	r.startAgents()
	r.waitStopped()
	r.shows("A")
	if s, err = r.Client.ConfigStatus(t.Context(), "a"); err != nil || s.Last != 1 || s.Stopped == "" {
		t.Errorf("after the hosts came: %+v, %v; nothing may have been written", s, err)
	}
}

// A fleet whose hosts are all down is usable: the wait ends, and a person can end it before.
func TestTruthALeaderWhoseHostsAreDownWritesInTheEnd(t *testing.T) {
	r := newRestored(t, "eu")
	wait := time.Hour
	r.Config.OnCoordinator = func(_ string, c *coordinator.Config) { c.HostWait = wait }
	r.stopAgents()
	r.with(func() {})
	if _, err := r.Client.BeginTerm(t.Context(), api.NewTerm{}); err != nil {
		t.Fatal(err)
	}
	r.Announce("a", []byte("A"))
	wait = time.Second
	r.with(func() {})
	r.Announce("a", []byte("B"))
	s, err := r.Client.ConfigStatus(t.Context(), "a")
	if err != nil || s.Waiting != "" || s.Regions[0].Applied != 0 || s.Regions[0].Hosts != 3 {
		t.Errorf("status without hosts: %+v, %v", s, err)
	}
	r.startAgents()
	r.agree("B")
}

// stopAgents stops every host.
func (r *restored) stopAgents() {
	for _, a := range r.Agents {
		r.StopAgent(a)
	}
	r.Agents = nil
}

// startAgents starts every host again.
func (r *restored) startAgents() {
	r.t.Helper()
	for i := range 3 * len(r.Config.Regions) {
		if _, err := r.StartAgent(i); err != nil {
			r.t.Fatal(err)
		}
	}
}

// The backup is what is meant: the hosts go back to it, and a new version 2 is another one than
// the version 2 that hosts have on disk.
func TestTruthANewTermReplacesTheHistoryOfTheHosts(t *testing.T) {
	r := newRestored(t, "eu")
	r.publish("A")
	r.Spread("only/on/hosts", []byte("made after the backup"))
	r.restore()
	r.waitStopped()
	out, err := r.Client.BeginTerm(t.Context(), api.NewTerm{Message: "12:00 is right"})
	if err != nil || out.Term != 2 || len(out.Recovered) != 1 || out.Recovered[0].Config != "only/on/hosts" {
		t.Fatalf("new term: %+v, %v", out, err)
	}
	r.agree("one")
	r.Until("the config that only hosts had to be counted", func() bool {
		s, err := r.Client.ConfigStatus(t.Context(), "only/on/hosts")
		return err == nil && len(s.Regions) == 1 && s.Regions[0].Applied == 3
	})
	r.publish("B")
	if r.running() != 2 {
		t.Errorf("version %d runs, want 2", r.running())
	}
}

// The backup knows nothing of two configs, and all hosts are away while a person begins the next
// term. When the hosts are back, status knows what they run of these configs, and they agree with
// the leader's heads.
func TestTruthALeaderTakesWhatOnlyHostsHaveAlsoFromHostsThatMissedTheTerm(t *testing.T) {
	r := newRestored(t, "eu")
	r.Spread("only/on/hosts", []byte("made after the backup"))
	r.Spread("only/there", []byte("made after the backup"))
	r.Spread("gone", []byte("deleted after the backup"))
	if _, err := r.Client.Delete(t.Context(), "gone", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	r.stopAgents()
	r.restore()
	if out, err := r.Client.BeginTerm(t.Context(), api.NewTerm{}); err != nil || len(out.Recovered) != 0 {
		t.Fatalf("new term without hosts: %+v, %v", out, err)
	}
	r.startAgents()
	for _, config := range []string{"only/on/hosts", "only/there"} {
		r.Until("the hosts of "+config+" are counted", func() bool {
			s, err := r.Client.ConfigStatus(t.Context(), config)
			return err == nil && len(s.Regions) == 1 && s.Regions[0].Version == 1 && s.Regions[0].Applied == 3
		})
		r.WaitShown(config, "made after the backup")
	}
	if s, err := r.Client.Status(t.Context()); err != nil || s.Stopped != "" {
		t.Errorf("the leader has stopped: %q, %v", s.Stopped, err)
	}
	r.publish("B")
}

// A follower's replica has the pointers and the versions of the lost history. It takes those of the
// new term, although versions, epochs and revisions were used before, and keeps them over a start.
func TestTruthAFollowerTakesTheNewTerm(t *testing.T) {
	r := newRestored(t, "eu", "us")
	r.publish("A")
	r.restore()
	r.waitStopped()
	if _, err := r.Client.BeginTerm(t.Context(), api.NewTerm{}); err != nil {
		t.Fatal(err)
	}
	r.agree("one")
	r.publish("B")
	if err := r.RestartCoordinator(1); err != nil {
		t.Fatal(err)
	}
	r.WaitAttached()
	r.publish("C")
}

// Two leaders move the pointer on copies of one store: both positions are equal, and the contents
// differ. The second leader is told apart by the hosts of the first.
func TestTruthTwoLeadersOnCopiesOfAStoreAreNoticed(t *testing.T) {
	r := newRestored(t, "eu")
	r.publish("A")
	r.with(func() {
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		copyDir(t, r.backup, r.dir)
		r.moveAsAnotherLeader("B")
	})
	r.waitStopped()
	r.shows("A")
	s, err := r.Client.ConfigStatus(t.Context(), "a")
	if err != nil || s.Regions[0].Version != 2 || s.Regions[0].Applied != 0 {
		t.Errorf("the second leader says %+v, %v: nobody runs its version 2", s, err)
	}
	// Only one of the two versions 2 can stay. Nothing is recovered half.
	out, err := r.Client.Recover(t.Context(), api.Recover{})
	if err != nil || len(out.Failed) != 1 || !out.Stopped || out.Term != 0 {
		t.Errorf("recovered %+v, %v", out, err)
	}
	if _, err := r.Client.BeginTerm(t.Context(), api.NewTerm{}); err != nil {
		t.Fatal(err)
	}
	r.agree("B")
}

// empty starts the leader anew, with an empty store, and does not wait for its hosts.
func (r *restored) empty() {
	r.t.Helper()
	err := r.RestartCoordinatorAfter(0, func() {
		if err := os.RemoveAll(r.dir); err != nil {
			r.t.Fatal(err)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// cut cuts the hosts of a region off, or connects them again.
func (r *restored) cut(region string, cut bool) {
	for _, a := range r.Agents {
		if strings.HasPrefix(a.Name(), region+"-") {
			r.Socket(a).Cut(cut)
		}
	}
}

// A recovery into an empty store, said before a host of the leader's own region is back, takes what the
// hosts of each region have.
func TestTruthARecoveryWaitsForTheHostsOfTheLeadersRegion(t *testing.T) {
	r := newRestored(t, "eu", "us")
	r.publish("A")
	r.cut("eu", true)
	r.empty()
	r.Until("the follower is back", func() bool {
		s, err := r.Client.Status(t.Context())
		return err == nil && s.Agents["us"] == 3
	})
	recovered := make(chan api.Recovered, 1)
	go func() {
		out, err := r.Client.Recover(t.Context(), api.Recover{Message: "the disk died"})
		if err != nil {
			t.Error(err)
		}
		recovered <- out
	}()
	time.Sleep(100 * time.Millisecond) // the request comes first; else the test passes and proves less
	r.cut("eu", false)
	out := <-recovered
	if out.Term != 2 || !slices.Equal(out.Asked, []string{"eu", "us"}) || len(out.Recovered) != 2 {
		t.Errorf("recovered %+v; want the pointers of both regions", out)
	}
	r.agree("A")
}

// A leader starts with an empty store while hosts and followers run. Its heads are counted anew, so none
// of them is newer than what these have.
func TestTruthHostsThatRunShowAnEmptiedLeaderWhatItLost(t *testing.T) {
	r := newRestored(t, "eu", "us")
	r.publish("A")
	r.cut("eu", true)
	r.empty()
	r.waitStopped()
	r.cut("eu", false)
	if _, err := r.Client.Recover(t.Context(), api.Recover{Message: "the disk died"}); err != nil {
		t.Fatal(err)
	}
	r.agree("A")
}

// A term begins over an empty store while the hosts can't be reached. When they can, they show what they
// have, although the head that they hold is of the ended term, and the leader takes it.
func TestTruthHostsThatRanWhileATermBeganWithoutThemAreHeard(t *testing.T) {
	r := newRestored(t, "eu")
	r.publish("A")
	r.cut("eu", true)
	r.empty()
	if _, err := r.Client.BeginTerm(t.Context(), api.NewTerm{Message: "nobody is there"}); err != nil {
		t.Fatal(err)
	}
	r.cut("eu", false)
	r.agree("A")
}

// A recovery names the regions that it asked and those that did not answer, and begins no term without
// them; it waits for a coordinator that connects late.
func TestTruthARecoveryNamesTheRegionsThatDidNotAnswer(t *testing.T) {
	r := newRestored(t, "eu", "us")
	type answer struct {
		out api.Recovered
		err error
	}
	late := make(chan answer, 1)
	err := r.RestartCoordinatorAfter(1, func() {
		out, err := r.Client.Recover(t.Context(), api.Recover{Wait: quantity.Duration(2 * time.Second)})
		if err != nil || !slices.Equal(out.Unanswered, []string{"us"}) || !slices.Contains(out.Asked, "eu") {
			t.Errorf("asked %v, no answer from %v, %v; want eu and us", out.Asked, out.Unanswered, err)
		}
		if !out.Stopped || out.Term != 0 {
			t.Errorf("term %d began without the hosts of us", out.Term)
		}
		go func() {
			out, err := r.Client.Recover(t.Context(), api.Recover{})
			late <- answer{out, err}
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	second := <-late
	if second.err != nil || len(second.out.Unanswered) > 0 || len(second.out.Asked) != 2 || second.out.Term == 0 {
		t.Errorf("recovered %+v, %v; want a new term and answers of both regions", second.out, second.err)
	}
	r.agree("one")
}

// moveAsAnotherLeader stores text as version 2 of a and moves the pointer, as a leader on a copy
// of the store does.
func (r *restored) moveAsAnotherLeader(text string) {
	store, err := versionstore.OpenBadger(filepath.Join(r.dir, "store"), embeddb.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer store.Close()
	blobs, err := versionstore.OpenFileBlobs(filepath.Join(r.dir, "blobs"), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	m, signed := manifestOf(r.t, text, r.Key)
	if err := blobs.Put(r.t.Context(), m.BodySHA256, m.BodySize, strings.NewReader(text)); err != nil {
		r.t.Fatal(err)
	}
	key, err := record.LoadKey(r.Home.ActivationKey("eu"))
	if err != nil {
		r.t.Fatal(err)
	}
	held, err := store.Pointer(r.t.Context(), "a", "eu")
	if err != nil {
		r.t.Fatal(err)
	}
	p := held.Pointer
	p.Epoch++
	p.Baseline = m.Ref()
	raw, err := record.SignPointer(p, key)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = store.Commit(r.t.Context(), versionstore.Transaction{
		Term:     1,
		Versions: []versionstore.SignedManifest{{Manifest: m, Raw: signed, By: "another leader"}},
		Pointers: []versionstore.SignedPointer{{Pointer: p, Raw: raw}},
		By:       "another leader",
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// manifestOf signs text as version 2 of a.
func manifestOf(t *testing.T, text string, key record.Key) (record.Manifest, []byte) {
	form, _, err := fec.FormOf([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m := record.Manifest{
		Config:      "a",
		Version:     2,
		Parent:      1,
		BodySize:    int64(len(text)),
		BodySHA256:  record.Sum([]byte(text)),
		Forms:       []record.Form{form},
		ContentType: draft.TypeText,
	}
	signed, err := record.SignManifest(m, key)
	if err != nil {
		t.Fatal(err)
	}
	return m, signed
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
