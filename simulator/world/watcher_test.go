package world

import (
	"slices"
	"testing"
	"time"

	"banyan/record"
)

func TestWatchersAreCalledInOrderUntilTheyStop(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}})
	var got []string
	watch := func(name string) func() {
		return w.Watch(Watcher{Applied: func(Applied) { got = append(got, name) }})
	}
	watch("a")
	stop := watch("b")
	watch("c")
	w.notifyApplied(Applied{})
	stop()
	stop() // a second call does nothing
	w.notifyApplied(Applied{})
	if want := []string{"a", "b", "c", "a", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOneWatcherThatRefusesIsEnough(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}})
	v := Key("a", 1)
	if !w.accepts(1, v) {
		t.Error("without watchers every version is accepted")
	}
	w.Watch(Watcher{Accepts: func(int32, record.VersionKey) bool { return true }})
	stop := w.Watch(Watcher{Accepts: func(host int32, _ record.VersionKey) bool { return host != 1 }})
	if w.accepts(1, v) || !w.accepts(2, v) {
		t.Error("the watcher refuses host 1 alone")
	}
	stop()
	if !w.accepts(1, v) {
		t.Error("a watcher that has stopped still refuses")
	}
}

// A version that a host's check refuses is acknowledged as failed, and is not on disk.
func TestARefusedVersionIsNotApplied(t *testing.T) {
	w := newWorld(t, Config{Seed: 1, Agents: []int{3}})
	settle(t, w)
	w.Watch(Watcher{Accepts: func(host int32, _ record.VersionKey) bool { return host != 2 }})
	w.Publish("a", 1)
	w.Run(w.Now().Add(5 * time.Second))
	for i := range w.Agents() {
		if _, applied := w.Host(i).AppliedEpoch("a"); applied == (i == 2) {
			t.Errorf("host %d: applied is %v", i, applied)
		}
	}
	if got := w.Acked("a", "dallas").Applied.GetCardinality(); got != 2 {
		t.Errorf("%d agents acknowledged the version, want 2", got)
	}
}
