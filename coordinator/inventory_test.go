package coordinator

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/internal/embeddb"
	"banyan/versionstore"
)

// roll returns n hosts.
func roll(n int) map[string]api.RosterHost {
	all := map[string]api.RosterHost{}
	for i := range n {
		name := fmt.Sprint("h", i)
		all[name] = api.RosterHost{Name: name, Index: uint32(i)}
	}
	return all
}

// A coordinator tells what changed, and all of it if the receiver has not heard the rest.
func TestTruthTheInventoryFollowsTheTrees(t *testing.T) {
	v := newInventory(nil, "leader", true, slog.New(slog.DiscardHandler))
	var sender told
	parts := 0
	report := func(n int) {
		t.Helper()
		// The second report brings what the first could not.
		for range 2 {
			err := sender.tell(roll(n), func(in api.Roster) (bool, error) {
				parts++
				return v.hear("us-1", "us", in), nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	is := func(what string, all, unheard int) {
		t.Helper()
		c := v.count("us", "a")
		if c.hosts != all || len(c.unheard) != unheard {
			t.Errorf("%s: %d hosts, %d not heard of; want %d, %d", what, c.hosts, len(c.unheard), all, unheard)
		}
	}
	report(100)
	is("all came", 100, 0)
	if want := 100/rosterBatch + 2; parts != want {
		t.Errorf("%d parts, want %d", parts, want)
	}
	report(70)
	is("30 left", 100, 30)
	report(90)
	is("20 came back", 100, 10)

	// A leader that started anew asks for everything.
	v = newInventory(nil, "leader", true, slog.New(slog.DiscardHandler))
	report(90)
	is("a new leader", 90, 0)

	// A host that moved to another coordinator is not missing when the first one loses it.
	v.hear("us-2", "us", api.Roster{First: true, Last: true, Total: 1, Hosts: []api.RosterHost{{Name: "h0", Index: 7}}})
	report(0)
	is("one moved, the others left", 90, 89)
	v.expire(time.Now().Add(time.Hour))
	is("both coordinators are silent", 90, 90)
}

// A host that was attached until the leader ended was last heard of then, and not when it
// attached. Its next absence counts from then, too.
func TestTruthWhenAHostWasLastHeardOfIsStored(t *testing.T) {
	store, err := versionstore.OpenBadger(t.TempDir(), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log := slog.New(slog.DiscardHandler)
	l, err := ledger.New(t.Context(), ledger.Config{Store: store, Metrics: newMetrics().set, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	host := func(v *inventory) api.Host {
		t.Helper()
		for _, h := range v.list(time.Time{}) {
			if h.Name == "h0" {
				return h
			}
		}
		t.Fatal("h0 is not listed")
		return api.Host{}
	}
	open := func() *inventory {
		t.Helper()
		v := newInventory(l, "leader", true, log)
		if err := v.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return v
	}
	report := func(v *inventory, hosts ...api.RosterHost) time.Time {
		v.hear("us-1", "us", api.Roster{First: true, Last: true, Total: len(hosts), Hosts: hosts})
		v.store(t.Context(), time.Now())
		return v.reports["us-1"].at
	}
	h0, h1 := api.RosterHost{Name: "h0"}, api.RosterHost{Name: "h1", Index: 1}

	v := open()
	report(v, h0, h1)
	heard := report(v, h0, h1) // which stores no host: nothing changed
	v = open()
	if h := host(v); h.Attached || !h.HeardAt.Equal(heard) {
		t.Errorf("after a restart: %+v, want the time of the last report, %s", h, heard)
	}
	report(v, h1)
	if h := host(v); h.Attached || h.Via != "" || !h.HeardAt.Equal(heard) {
		t.Errorf("its coordinator reports without it: %+v, want %s", h, heard)
	}
	report(v, h1)
	if h := host(open()); !h.HeardAt.Equal(heard) {
		t.Errorf("after another restart: %+v, want %s", h, heard)
	}
}
