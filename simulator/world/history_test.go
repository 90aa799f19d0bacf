package world

import (
	"testing"
	"time"

	"banyan/record"
)

// settled returns a fleet of one region that runs version 1 of config a.
func settled(t *testing.T, regions int) *World {
	t.Helper()
	matrix, err := Preset(DefaultMatrix)
	if err == nil {
		matrix, err = matrix.First(regions)
	}
	if err != nil {
		t.Fatal(err)
	}
	agents := make([]int, regions)
	for i := range agents {
		agents[i] = 4
	}
	w := newWorld(t, Config{Agents: agents, Heads: time.Second, Clones: 1, Network: Network{Matrix: matrix}})
	w.Boot()
	w.BeginHeads()
	if err := w.Settle(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.Publish("a", 1)
	w.Run(w.Now().Add(5 * time.Second))
	return w
}

// shows returns the number of agents that show v.
func shows(w *World, v record.VersionKey) (n int) {
	for i := range w.Agents() {
		got, ok := w.Host(i).Shows(v.Config)
		n += one(ok && got == v.Ref())
	}
	return n
}

func strike(w *World, f Fault) { w.Strike(f, w.Now(), 0, func(string) {}) }

// Version 2 of a restored store is another one than the version 2 that was lost. Hosts take it in
// the next term, and the leader stops writing before.
func TestTruthARestoredStoreMakesOtherVersions(t *testing.T) {
	w := settled(t, 1)
	backup := w.store().backup()
	w.Publish("a", 2)
	w.Run(w.Now().Add(5 * time.Second))
	lost := w.Version(0, "a", 2)
	w.restoreBackup(backup, true)
	w.Run(w.Now().Add(30 * time.Second))
	if !w.StoppedWriting(0) || shows(w, lost) != 4 {
		t.Errorf("the restored leader has stopped writing: %t; %d of 4 hosts show the lost version",
			w.StoppedWriting(0), shows(w, lost))
	}
	w.RaiseTerm(0)
	w.Publish("a", 2)
	w.Run(w.Now().Add(30 * time.Second))
	v := w.Version(0, "a", 2)
	if v == lost || shows(w, v) != 4 {
		t.Errorf("version %v of the new history is on %d of 4 hosts; the lost one was %v", v, shows(w, v), lost)
	}
}

// Two leaders on copies of one store give their regions different contents under one number.
func TestARivalLeadsOnACopyOfTheStore(t *testing.T) {
	w := settled(t, 2)
	strike(w, Fault{Kind: FaultRival, Target: "coordinator:" + w.Host(1).Region(), For: time.Minute})
	w.Run(w.Now().Add(20 * time.Second))
	for leader := range w.Leaders() {
		w.Move(Change{Config: "a", Version: 2, Leader: leader})
	}
	w.Run(w.Now().Add(20 * time.Second))
	one, two := w.Version(0, "a", 2), w.Version(1, "a", 2)
	if one == two || shows(w, one) != 4 || shows(w, two) != 4 {
		t.Errorf("%d hosts show version 2 of the leader, %d that of the rival; want 4 and 4", shows(w, one), shows(w, two))
	}
	w.Run(w.Now().Add(time.Minute))
	if n := shows(w, one); w.IsLeader(1) || n != 8 {
		t.Errorf("after the end of the rival %d of 8 hosts show version 2 of the leader", n)
	}
}

// Files that somebody changes or loses are put in place by half of the agents, and by every agent
// with the next version.
func TestDamagedFilesAreReplaced(t *testing.T) {
	for _, kind := range []FaultKind{FaultEdit, FaultWipe} {
		w := settled(t, 1)
		strike(w, Fault{Kind: kind, Target: "agents:100%"})
		w.Run(w.Now().Add(time.Second))
		if n := shows(w, Key("a", 1)); n != 0 {
			t.Errorf("%s: %d of 4 hosts still show version 1", kind, n)
		}
		w.Publish("a", 2)
		w.Run(w.Now().Add(30 * time.Second))
		if n := shows(w, Key("a", 2)); n != 4 {
			t.Errorf("%s: %d of 4 hosts show version 2", kind, n)
		}
	}
}

// A clone has the name of an agent, and does not keep the others from a new version.
func TestACloneDoesNotKeepOthersFromANewVersion(t *testing.T) {
	w := settled(t, 1)
	strike(w, Fault{Kind: FaultClone, Target: "agent:dallas/2", For: 20 * time.Second})
	w.Run(w.Now().Add(5 * time.Second))
	clone := w.Host(int32(w.Hosts() - 1))
	if clone.Down() || clone.Name() != "dallas-2" {
		t.Errorf("the clone %q is down: %t", clone.Name(), clone.Down())
	}
	w.Publish("a", 2)
	w.Run(w.Now().Add(60 * time.Second))
	if n := shows(w, Key("a", 2)); n != 4 {
		t.Errorf("%d of 4 hosts show version 2", n)
	}
}
