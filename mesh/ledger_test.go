package mesh

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"banyan/mesh/wire"
	"banyan/record"
)

// The ledger against its dumb twin: all newest announcements, sorted.
func TestTheLedgerPagesThroughWhatChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger
		newest := map[string]*wire.Announcement{}
		current := func(a *wire.Announcement) bool { return newest[a.Pointer.Config] == a }
		for range rapid.IntRange(1, 300).Draw(t, "changes") {
			a := &wire.Announcement{Revision: rapid.Uint64Range(1, 400).Draw(t, "revision"),
				Pointer: record.Pointer{Config: fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "config"))}}
			_, replaces := newest[a.Pointer.Config]
			newest[a.Pointer.Config] = a
			l.add(a, replaces, current)
		}
		since := rapid.Uint64Range(0, 400).Draw(t, "since")
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		got := map[*wire.Announcement]bool{}
		for more, last := true, since; more; {
			var page []*wire.Announcement
			page, more = l.since(last, limit, current)
			from := last
			for _, a := range page {
				if a.Revision <= from || a.Revision < last || got[a] {
					t.Fatalf("revision %d came after %d, or twice", a.Revision, last)
				}
				got[a] = true
				last = max(last, a.Revision)
			}
		}
		want := 0
		for _, a := range newest {
			if a.Revision > since {
				want++
				if !got[a] {
					t.Fatalf("%s at revision %d is missing", a.Pointer.Config, a.Revision)
				}
			}
		}
		if len(got) != want {
			t.Fatalf("%d announcements, want %d", len(got), want)
		}
		if len(l.list) > 3*len(newest)+70 {
			t.Errorf("%d entries for %d configs", len(l.list), len(newest))
		}
	})
}
