package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// watch is a drift watch whose reports are kept instead of given to the node.
type watch struct {
	*driftWatch
	inputs []step.Input
	gone   []record.VersionKey // versions to be fetched again
}

func newWatch(a *Agent) *watch {
	w := &watch{}
	copied := *a.drift
	w.driftWatch = &copied
	w.tell = func(_ context.Context, in step.Input) { w.inputs = append(w.inputs, in) }
	w.lost = func(v record.VersionKey) { w.gone = append(w.gone, v) }
	a.applier.reports.tell = w.tell // of the watch and of the applier, which a test does not run at once
	return w
}

// states returns the states that were reported, and forgets them.
func (w *watch) states() (states []wire.DriftState) {
	for _, in := range w.inputs {
		if in.Kind == step.InDrift {
			states = append(states, in.Drift)
		}
	}
	w.inputs = nil
	return states
}

// look looks once and returns the states that were reported.
func (w *watch) look(t *testing.T) []wire.DriftState {
	w.lookAtAll(t.Context())
	return w.states()
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	os.Remove(path)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDriftIsReportedWhileItLasts(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(nil)
	h.run(a, "a", 1, "one")
	w := newWatch(a)
	if states := w.look(t); states != nil {
		t.Errorf("a file that nobody changed: %v", states)
	}
	body := a.output.version(key("a", 1)).value()
	overwrite(t, body, "two")
	for range 2 {
		if states := w.look(t); !slices.Equal(states, []wire.DriftState{wire.DriftSeen}) {
			t.Errorf("a changed body: %v", states)
		}
	}
	if applied, _ := a.Applied("a"); applied.Drift == "" {
		t.Error("readers are not told of the drift")
	}
	overwrite(t, body, "one")
	if states := w.look(t); !slices.Equal(states, []wire.DriftState{wire.DriftGone}) {
		t.Errorf("a body that is good again: %v", states)
	}
	if applied, _ := a.Applied("a"); applied.Drift != "" {
		t.Errorf("readers are told of drift that is gone: %s", applied.Drift)
	}
	overwrite(t, filepath.Join(h.dir, "out/a", valueFile), "a file instead of the link")
	if states := w.look(t); !slices.Equal(states, []wire.DriftState{wire.DriftSeen}) {
		t.Errorf("a link that was replaced: %v", states)
	}
	os.Remove(filepath.Join(h.dir, "out/a", valueFile))
	os.Remove(body)
	if states := w.look(t); !slices.Equal(states, []wire.DriftState{wire.DriftSeen}) {
		t.Errorf("a body that is gone: %v", states)
	}
}

// A repair is reported after the repair, and not before.
func TestTruthDriftIsRepairedWhereARuleSaysSo(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(h.dir, "log")
	a, _ := startWith(h, Rule{Drift: DriftRepair, Reload: &Reload{Command: shell("echo reload >> %s", log)}})
	h.run(a, "a", 1, "one")
	w := newWatch(a)
	// The links are enough to repair: the body on disk is good.
	overwrite(t, filepath.Join(h.dir, "out/a", valueFile), "by hand")
	w.lookAtAll(t.Context())
	last := w.inputs[len(w.inputs)-1]
	if last.Kind != step.InReapply || last.Body.Version != key("a", 1) || len(w.gone) != 0 {
		t.Errorf("the node is told %+v", last)
	}
	if states := w.states(); !slices.Equal(states, []wire.DriftState{wire.DriftSeen}) {
		t.Errorf("before the repair: %v", states)
	}
	// The node activates the version again; its reload runs although the version is the same.
	if err := h.activate(a, "a", 1, 1); err != nil {
		t.Fatal(err)
	}
	if states := w.states(); !slices.Equal(states, []wire.DriftState{wire.DriftRepaired}) || h.shows("a") != "one" {
		t.Errorf("after the repair: %v, a shows %q", states, h.shows("a"))
	}
	if got := read(t, log); got != "reload\nreload\n" {
		t.Errorf("reloads: %q", got)
	}
	// A damaged body is fetched again.
	overwrite(t, a.output.version(key("a", 1)).value(), "bad")
	w.look(t)
	if !slices.Equal(w.gone, []record.VersionKey{key("a", 1)}) {
		t.Errorf("fetched again: %v", w.gone)
	}
	// The fetched body is there before the version is applied again.
	if err := h.store(a, "a", 1, "one"); err != nil {
		t.Fatal(err)
	}
	if states := w.look(t); !slices.Equal(states, []wire.DriftState{wire.DriftRepaired}) {
		t.Errorf("a body that the agent has fetched again: %v", states)
	}
}

func TestTheWatchLooksAtEachIntervalAndStops(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(func(c *Config) { c.DriftInterval = 1 })
	h.run(a, "a", 1, "one")
	overwrite(t, a.output.version(key("a", 1)).value(), "two")
	waitUntil(t, func() bool { applied, _ := a.Applied("a"); return applied.Drift != "" })
}
