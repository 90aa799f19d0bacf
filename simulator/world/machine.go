package world

import (
	"time"

	"banyan/mesh/step"
)

// Machine is a computer that all hosts share: a calibration runs on one.
type Machine struct {
	Cores int // processors they share
	// StoreSync and ApplySync are the disk's time for the durable write of a body and of
	// an apply. For the share Held of them a core waits with it, since a thread in a
	// system call keeps its core for a while; for the rest the disk works alone, on
	// one write after another.
	StoreSync, ApplySync time.Duration
	Held                 float64
}

// scheduler shares a machine's cores out. Work that a host has begun, its writes,
// goes before messages that have just come: a runtime polls the network when there
// is nothing else to do. The messages that wait for one host are taken together,
// as one read brings them.
type scheduler struct {
	w      *World
	idle   int
	urgent []job
	hosts  []int32         // with messages waiting, in the order in which they came
	net    map[int32][]job // those messages
}

type job struct {
	cost time.Duration
	then func()
}

func newScheduler(w *World, cores int) *scheduler {
	return &scheduler{w: w, idle: max(cores, 1), net: map[int32][]job{}}
}

// compute queues work that a host has begun.
func (s *scheduler) compute(i int32, cost time.Duration, then func()) {
	s.w.hosts[i].traffic.CPU += cost
	s.urgent = append(s.urgent, job{cost, then})
	s.dispatch()
}

// arrive queues a message that has come, or is to go.
func (s *scheduler) arrive(i int32, cost time.Duration, then func()) {
	s.w.hosts[i].traffic.CPU += cost
	if len(s.net[i]) == 0 {
		s.hosts = append(s.hosts, i)
	}
	s.net[i] = append(s.net[i], job{cost, then})
	s.dispatch()
}

// dispatch gives work to idle cores.
func (s *scheduler) dispatch() {
	for s.idle > 0 {
		j, ok := s.next()
		if !ok {
			return
		}
		s.idle--
		s.w.At(s.w.now.Add(j.cost), func() {
			s.idle++
			j.then()
			s.dispatch()
		})
	}
}

func (s *scheduler) next() (j job, ok bool) {
	if len(s.urgent) > 0 {
		j, s.urgent = s.urgent[0], s.urgent[1:]
		return j, true
	}
	if len(s.hosts) == 0 {
		return j, false
	}
	i := s.hosts[0]
	j, s.net[i] = s.net[i][0], s.net[i][1:]
	if len(s.net[i]) == 0 {
		delete(s.net, i)
		s.hosts = s.hosts[1:]
	}
	return j, true
}

// writeStore calls then when a fetched body is durably on the disk of host i.
func (w *World) writeStore(i int32, at step.Time, then func()) {
	w.write(i, at, w.cfg.Costs.Store, w.storeSync(), then)
}

// writeApply calls then when a version is durably applied at host i.
func (w *World) writeApply(i int32, at step.Time, then func()) {
	w.write(i, at, w.cfg.Costs.Apply, w.applySync(), then)
}

// StoreAndApply calls then when host i has stored a body and applied it, as one
// durable write that begins now. It serves strategies that have no mesh node.
func (w *World) StoreAndApply(i int32, then func()) {
	w.write(i, w.now, w.cfg.Costs.Store+w.cfg.Costs.Apply, w.applySync(), then)
}

// write calls then when a durable write at host i is done. The write begins at time at.
// d is the time that the write takes on a host of its own; on a shared machine d is
// processor time, and disk is the time of the shared disk.
func (w *World) write(i int32, at step.Time, d, disk time.Duration, then func()) {
	h := &w.hosts[i]
	if w.machine != nil {
		held := time.Duration(float64(disk) * w.cfg.Machine.Held)
		w.machine.compute(i, d+held, func() {
			w.disk = max(w.disk, w.now).Add(disk - held)
			w.At(w.disk, then)
		})
		return
	}
	w.At(at.Add(w.slowed(h, d)), then)
}

func (w *World) storeSync() time.Duration {
	if w.cfg.Machine == nil {
		return 0
	}
	return w.cfg.Machine.StoreSync
}

func (w *World) applySync() time.Duration {
	if w.cfg.Machine == nil {
		return 0
	}
	return w.cfg.Machine.ApplySync
}

// receive lets a host's processor take a message in, then its node.
func (w *World) receive(i int32, d delivery) {
	if w.machine != nil {
		w.machine.arrive(i, w.receiveCost(d.message), func() {
			if !w.hosts[i].down && w.links[d.peer].alive {
				w.step(i, step.Input{Kind: step.InReceived, Peer: d.peer, Message: d.message})
			}
		})
		return
	}
	w.ready = w.Spend(i, w.now, w.receiveCost(d.message))
	w.step(i, step.Input{Kind: step.InReceived, Peer: d.peer, Message: d.message})
}
