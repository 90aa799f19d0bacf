package world

import (
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// OneWay is the time light takes between two hosts, without jitter.
func (w *World) OneWay(from, to int32) time.Duration {
	a, b := &w.hosts[from], &w.hosts[to]
	n := &w.cfg.Network
	switch {
	case a.region != b.region:
		return n.Matrix.RTT(int(a.region), int(b.region)) / 2
	case a.zone != b.zone:
		return n.CrossAZ / 2
	}
	return n.Zone / 2
}

// Propagation is the one-way delay of one packet, with jitter, and with what
// the recovery of lost packets adds: a probe timeout for each loss in a row
// (RFC 9002 §6.2), after which the packet is sent again.
func (w *World) Propagation(from, to int32) time.Duration {
	base := w.OneWay(from, to)
	d := base
	if j := w.cfg.Network.Jitter; j > 0 {
		d += time.Duration(j * float64(base) * abs(w.rand.NormFloat64()))
	}
	if loss := w.cfg.Network.Loss; loss > 0 {
		timeout := 3*base + w.cfg.Network.AckDelay // 1.5 round trips and the peer's delay
		for w.rand.Float64() < loss {
			d += timeout
			timeout *= 2
		}
	}
	return d
}

func abs(x float64) float64 {
	if x < 0 {
		return -x
	}
	return x
}

func (w *World) upRate(i int32) float64   { return w.rate(i, w.cfg.Network.UpBps) }
func (w *World) downRate(i int32) float64 { return w.rate(i, w.cfg.Network.DownBps) }

func (w *World) rate(i int32, host float64) float64 {
	if w.IsCoordinator(i) && w.cfg.Network.RootBps > 0 {
		return w.cfg.Network.RootBps
	}
	return host
}

// transmit sends a message over a link: the sender's processor, its way out, the
// network, in order behind what was sent before.
func (w *World) transmit(id step.PeerID, m wire.Message, ready step.Time) {
	l := &w.links[id]
	if !l.alive {
		return
	}
	size := w.messageSize(m)
	if w.machine != nil && !w.cutOff(l.owner, l.remote) {
		w.Count(l.owner, l.remote, size)
		w.machine.message(l.owner, w.cfg.Costs.Send, func() { w.arrive(id, m, w.now) })
		return
	}
	departs := w.Upload(l.owner, w.Spend(l.owner, ready, w.cfg.Costs.Send), size)
	w.Count(l.owner, l.remote, size)
	if w.cutOff(l.owner, l.remote) {
		l.held = append(l.held, heldMessage{m, size})
		w.expire(id)
		return
	}
	w.arrive(id, m, departs)
}

func (w *World) arrive(id step.PeerID, m wire.Message, departs step.Time) {
	l := &w.links[id]
	l.last = max(departs.Add(w.Propagation(l.owner, l.remote)), l.last)
	w.queue.push(event{at: max(l.last, w.now), host: l.remote, kind: evMessage, ref: w.messages.put(delivery{l.other, m})})
}

func (w *World) Count(from, to int32, size int64) {
	t := &w.hosts[from].traffic
	t.Messages++
	t.Bytes += size
	if a, b := &w.hosts[from], &w.hosts[to]; a.region == b.region && a.zone != b.zone {
		t.CrossZone += size
	}
	if w.hosts[from].region != w.hosts[to].region {
		t.CrossRegion += size
	}
}

// connect opens a connection: a handshake of one round trip, and processor time
// at both ends.
func (w *World) connect(i int32, address string, ready step.Time) {
	to, ok := w.hostAt(address)
	if !ok || w.hosts[to].down || w.cutOff(i, to) || w.cutOff(to, i) {
		w.input(ready.Add(w.cfg.dialTimeout()), i, step.Input{Kind: step.InConnectFailed, Addr: address})
		return
	}
	here := step.PeerID(len(w.links))
	there := here + 1
	w.links = append(w.links,
		link{owner: i, remote: to, other: there, alive: true},
		link{owner: to, remote: i, other: here, alive: true})
	w.remember(i, here)
	w.remember(to, there)
	ready = w.Spend(i, ready, w.cfg.Costs.Connect)
	w.hosts[i].traffic.Connections++
	w.Count(i, to, handshakeSize/2)
	w.Count(to, i, handshakeSize/2)
	out := w.Propagation(i, to)
	w.input(ready.Add(out), to, step.Input{Kind: step.InPeer, Peer: there, Identity: w.hosts[i].ident})
	w.input(ready.Add(out+w.Propagation(to, i)), i, step.Input{Kind: step.InConnected, Peer: here, Identity: w.hosts[to].ident, Addr: address})
}

// remember notes a host's end of a new link, and forgets those that are dead.
func (w *World) remember(i int32, id step.PeerID) {
	h := &w.hosts[i]
	if len(h.links) == cap(h.links) {
		h.links = slices.DeleteFunc(h.links, func(id step.PeerID) bool { return !w.links[id].alive })
	}
	h.links = append(h.links, id)
}

// bury ends one end of a link.
func (w *World) bury(id step.PeerID) {
	l := &w.links[id]
	l.alive, l.dying, l.held = false, false, nil
}

// dialTimeout is how long a dial to a host that does not answer takes to fail.
func (c *Config) dialTimeout() time.Duration { return 3 * time.Second }

// closeLink ends a connection; the far end hears of it if a packet can reach it.
func (w *World) closeLink(id step.PeerID, ready step.Time) {
	l := &w.links[id]
	if !l.alive {
		return
	}
	l.alive = false
	if w.cutOff(l.owner, l.remote) {
		w.expire(l.other)
		return
	}
	at := max(ready.Add(w.Propagation(l.owner, l.remote)), l.last)
	w.input(at, l.remote, step.Input{Kind: step.InDisconnected, Peer: l.other})
}

// expire declares a link dead at its owner after the idle timeout, unless it can
// be heard again by then.
func (w *World) expire(id step.PeerID) {
	l := &w.links[id]
	if !l.alive || l.dying {
		return
	}
	l.dying = true
	w.At(w.now.Add(w.cfg.Idle), func() {
		l := &w.links[id]
		if !l.dying || !l.alive {
			return
		}
		l.alive = false
		w.input(w.now, l.owner, step.Input{Kind: step.InDisconnected, Peer: id})
	})
}

// partition is a cut of the network: what one set of hosts sends does not reach another.
type partition struct {
	from, to func(*Host) bool
	oneWay   bool
}

func (w *World) cutOff(from, to int32) bool {
	a, b := &w.hosts[from], &w.hosts[to]
	for _, p := range w.partitions {
		if p.from(a) && p.to(b) || !p.oneWay && p.from(b) && p.to(a) {
			return true
		}
	}
	return false
}

// cut starts a partition and returns what ends it. Links across it live on for
// the idle timeout; what was sent over them meanwhile arrives when it heals.
func (w *World) cut(p *partition) (heal func()) {
	w.partitions = append(w.partitions, p)
	for id := range w.links {
		l := &w.links[id]
		if l.alive && (w.cutOff(l.owner, l.remote) || w.cutOff(l.remote, l.owner)) {
			w.expire(step.PeerID(id))
		}
	}
	return func() {
		w.partitions = slices.DeleteFunc(w.partitions, func(q *partition) bool { return q == p })
		for id := range w.links {
			w.release(step.PeerID(id))
		}
	}
}

// release sends what a link held back, if nothing cuts it any more. An end whose
// far end gave it up meanwhile learns of that.
func (w *World) release(id step.PeerID) {
	l := &w.links[id]
	if !l.alive || !l.dying || w.cutOff(l.owner, l.remote) || w.cutOff(l.remote, l.owner) {
		return
	}
	if !w.links[l.other].alive {
		return // it expires, as nobody answers
	}
	l.dying = false
	held := l.held
	l.held = nil
	for _, h := range held {
		w.arrive(id, h.m, w.now)
	}
}
