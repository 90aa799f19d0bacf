package hostile

import (
	"strings"
	"testing"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/simulator/world"
)

// The referee finds a status that counts a host which runs something else, and accepts a status
// that says what it does not know.
func TestTruthTheRefereeComparesStatusWithHosts(t *testing.T) {
	const told = "says that dallas-4 runs a"
	edit := world.Fault{Kind: world.FaultEdit, Target: "agent:dallas/4"}
	// acknowledge makes the leader believe that agent 4 applied a pointer of config b.
	acknowledge := func(w *world.World, r *referee) {
		w.Publish("b", 1)
		w.RunUntil(w.Now().Add(time.Second), time.Microsecond, func() bool { return w.Current("b", "dallas") != nil })
		a := w.Current("b", "dallas")
		e := wire.NewAckEntry(a.Pointer.Key(), a.Pointer.Position(), a.Digest)
		index, _ := w.Host(5).Node().Index()
		e.Applied.Add(index)
		r.truth.hears(0, &step.Output{Op: step.OpAcked, Message: &wire.Ack{Entries: []wire.AckEntry{*e}}})
	}
	for name, c := range map[string]struct {
		spoil func(w *world.World, r *referee)
		quiet bool
		want  string
	}{
		"nothing is wrong": {func(*world.World, *referee) {}, true, ""},
		"an edit that nobody has seen": {func(w *world.World, _ *referee) {
			w.Strike(edit, w.Now(), 0, func(string) {})
			w.Run(w.Now().Add(time.Second))
		}, true, told},
		"an edit that nobody can have seen yet": {func(w *world.World, _ *referee) {
			w.Strike(edit, w.Now(), 0, func(string) {})
			w.Run(w.Now().Add(time.Second))
		}, false, ""},
		"an edit that was reported or repaired": {func(w *world.World, _ *referee) {
			w.Strike(edit, w.Now(), 0, func(string) {})
			w.Run(w.Now().Add(20 * time.Second))
		}, true, ""},
		"an acknowledgement of what was never applied": {acknowledge, false, "which it never did"},
	} {
		t.Run(name, func(t *testing.T) {
			v := broken(t, func(w *world.World, r *referee) {
				c.spoil(w, r)
				w.Census(0)
				r.judgeClaims(c.quiet)
			})
			got := strings.Join(v, "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("want a violation of %q, got %q", c.want, got)
			}
		})
	}
}
