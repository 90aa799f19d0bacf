package world

import (
	"time"

	"banyan/mesh/step"
)

// Machine is one computer on which all hosts run. A calibration measures real agents on
// one machine, and simulates the same agents on a Machine.
type Machine struct {
	// Cores is the number of processors of the machine.
	Cores int
	// StoreSync is the time that the disk takes to write a body durably.
	StoreSync time.Duration
	// ApplySync is the time that the disk takes to write an apply durably.
	ApplySync time.Duration
	// Held is the share of a durable write during which a core waits for the disk: a
	// thread in a system call keeps its core for a while. During the rest of the write
	// only the disk is busy. The disk performs one write after another.
	Held float64
}

// scheduler distributes the work of all hosts over the cores and the disk of one Machine.
// Work that a host has begun (durable writes) goes before messages: a Go runtime polls
// the network when a core has nothing else to do. The messages that wait for one host are
// taken together, as one read from the network returns them.
type scheduler struct {
	w       *World
	machine Machine
	idle    int // cores without work
	urgent  []job
	// hosts holds the hosts with waiting messages, in the order in which the first
	// message of each arrived.
	hosts []int32
	// messages holds the waiting messages of each host.
	messages map[int32][]job
	// diskFree is when the disk has finished the writes that are queued.
	diskFree step.Time
}

type job struct {
	cost time.Duration
	then func()
}

func newScheduler(w *World, machine Machine) *scheduler {
	return &scheduler{
		w:        w,
		machine:  machine,
		idle:     max(machine.Cores, 1),
		messages: map[int32][]job{},
	}
}

// compute queues work that host i has begun.
func (s *scheduler) compute(i int32, cost time.Duration, then func()) {
	s.w.hosts[i].traffic.CPU += cost
	s.urgent = append(s.urgent, job{cost, then})
	s.dispatch()
}

// message queues a message that host i has received or is to send.
func (s *scheduler) message(i int32, cost time.Duration, then func()) {
	s.w.hosts[i].traffic.CPU += cost
	if len(s.messages[i]) == 0 {
		s.hosts = append(s.hosts, i)
	}
	s.messages[i] = append(s.messages[i], job{cost, then})
	s.dispatch()
}

// write performs a durable write of host i: cost on a core, sync on the disk.
func (s *scheduler) write(i int32, cost, sync time.Duration, then func()) {
	held := time.Duration(float64(sync) * s.machine.Held)
	s.compute(i, cost+held, func() {
		s.diskFree = max(s.diskFree, s.w.now).Add(sync - held)
		s.w.At(s.diskFree, then)
	})
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

// next removes the job that a core takes next; ok is false if no work waits.
func (s *scheduler) next() (j job, ok bool) {
	if len(s.urgent) > 0 {
		j = s.urgent[0]
		s.urgent = s.urgent[1:]
		return j, true
	}
	if len(s.hosts) == 0 {
		return job{}, false
	}
	i := s.hosts[0]
	j = s.messages[i][0]
	s.messages[i] = s.messages[i][1:]
	if len(s.messages[i]) == 0 {
		delete(s.messages, i)
		s.hosts = s.hosts[1:]
	}
	return j, true
}

// writeStore writes a fetched body durably to the disk of host i, beginning at time at,
// and then calls then.
func (w *World) writeStore(i int32, at step.Time, then func()) {
	w.write(i, at, w.cfg.Costs.Store, w.shared.StoreSync, then)
}

// writeApply applies a version durably at host i, beginning at time at, and then calls
// then.
func (w *World) writeApply(i int32, at step.Time, then func()) {
	w.write(i, at, w.cfg.Costs.Apply, w.shared.ApplySync, then)
}

// StoreAndApply stores a body and applies it at host i, as one durable write that begins
// now, and then calls then. StoreAndApply serves strategies that have no mesh node.
func (w *World) StoreAndApply(i int32, then func()) {
	w.write(i, w.now, w.cfg.Costs.Store+w.cfg.Costs.Apply, w.shared.ApplySync, then)
}

// write performs a durable write at host i. On a host of its own, the write takes cost. On
// a shared machine, cost is processor time and sync is time of the shared disk.
func (w *World) write(i int32, at step.Time, cost, sync time.Duration, then func()) {
	if w.machine != nil {
		w.machine.write(i, cost, sync, then)
		return
	}
	w.At(at.Add(w.hosts[i].slowed(cost)), then)
}

// receive gives a message to the processor of host i, and then to its node.
func (w *World) receive(i int32, d delivery) {
	cost := w.receiveCost(d.message)
	if w.machine == nil {
		w.ready = w.Spend(i, w.now, cost)
		w.hand(i, d)
		return
	}
	w.machine.message(i, cost, func() {
		if !w.hosts[i].down && w.links[d.peer].alive {
			w.hand(i, d)
		}
	})
}

// hand gives a message to the node of host i. The input is built here, and not in receive,
// because an input in a closure would be allocated on the heap for every message.
func (w *World) hand(i int32, d delivery) {
	w.step(i, step.Input{Kind: step.InReceived, Peer: d.peer, Message: d.message})
}
