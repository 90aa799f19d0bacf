package world

import (
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// OneWay returns the one-way delay between two hosts without jitter: half the round trip.
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

// Propagation returns the one-way delay of one packet with jitter and loss. Each loss in a
// row adds a probe timeout, after which the sender sends the packet again (RFC 9002 §6.2).
// The timeout is 1.5 round trips plus the peer's acknowledgement delay, and doubles with
// each loss. Example: over 50 ms one way, the first loss adds 175 ms, the second 350 ms.
func (w *World) Propagation(from, to int32) time.Duration {
	base := w.OneWay(from, to)
	d := base
	if j := w.cfg.Network.Jitter; j > 0 {
		d += time.Duration(j * float64(base) * abs(w.rand.NormFloat64()))
	}
	if loss := w.cfg.Network.Loss; loss > 0 {
		timeout := 3*base + w.cfg.Network.AckDelay
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

// upRate and downRate return the rates of the links of host i in bits per second; 0 for no
// limit.
func (w *World) upRate(i int32) float64   { return w.rate(i, w.cfg.Network.UpBps) }
func (w *World) downRate(i int32) float64 { return w.rate(i, w.cfg.Network.DownBps) }

func (w *World) rate(i int32, host float64) float64 {
	if w.IsCoordinator(i) && w.cfg.Network.RootBps > 0 {
		return w.cfg.Network.RootBps
	}
	return host
}

// transmit sends a message over a link. The message takes the sender's processor and
// uplink, and then the network. Messages of one link arrive in the order of sending.
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

// arrive queues the arrival of a message that leaves the sender at departs.
func (w *World) arrive(id step.PeerID, m wire.Message, departs step.Time) {
	l := &w.links[id]
	l.last = max(departs.Add(w.Propagation(l.owner, l.remote)), l.last)
	w.queue.push(event{
		at:   max(l.last, w.now),
		host: l.remote,
		kind: evMessage,
		ref:  w.messages.put(delivery{l.other, m}),
	})
}

// Count adds a message of size bytes to the traffic of its sender.
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

// connect opens a connection from host i to the host at address. The handshake takes one
// round trip, and processor time at both hosts. A dial to a host that is down or cut off fails
// after the dial timeout.
func (w *World) connect(i int32, address string, ready step.Time) {
	to, ok := w.hostAt(address)
	if !ok || w.hosts[to].down || w.cutOff(i, to) || w.cutOff(to, i) {
		w.input(ready.Add(dialTimeout), i, step.Input{
			Kind: step.InConnectFailed,
			Link: step.Link{Addr: address},
		})
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
	w.accept(dial{from: i, to: to, here: here, there: there, address: address}, ready, 0)
}

// dial is a handshake under way.
type dial struct {
	from, to    int32
	here, there step.PeerID
	address     string
}

const (
	// acceptBacklog is the time for which the first packet of a handshake waits for the processor.
	// A host that is busier drops the packet: the buffer of its socket is full.
	acceptBacklog = 500 * time.Millisecond
	// firstResend is the time after which the first packet is sent again, and twice the time after
	// that (RFC 9002 §6.2).
	firstResend = 200 * time.Millisecond
)

// accept carries out the rest of a handshake that began at a time before: attempt counts the
// packets that were dropped.
func (w *World) accept(d dial, began step.Time, attempt int) {
	sent := began
	for n := range attempt {
		sent = sent.Add(firstResend << n)
	}
	arrives := sent.Add(w.Propagation(d.from, d.to))
	w.At(arrives, func() {
		switch {
		case w.hosts[d.from].down:
			return
		case !w.links[d.here].alive || w.hosts[d.to].down:
			w.dialFailed(d, began)
		case w.hosts[d.to].cpuFree <= w.now.Add(acceptBacklog):
			w.accepted(d, w.Spend(d.to, w.now, w.cfg.Costs.Connect))
		case w.now.Add(firstResend<<attempt) < began.Add(dialTimeout):
			w.accept(d, began, attempt+1)
		default:
			w.dialFailed(d, began)
		}
	})
}

// dialFailed ends a handshake that the other host does not answer.
func (w *World) dialFailed(d dial, began step.Time) {
	w.links[d.here].alive = false
	w.links[d.there].alive = false
	w.input(began.Add(dialTimeout), d.from, step.Input{
		Kind: step.InConnectFailed,
		Link: step.Link{Addr: d.address},
	})
}

// accepted tells both hosts that their link is up.
func (w *World) accepted(d dial, at step.Time) {
	w.input(at, d.to, step.Input{
		Kind: step.InAccepted,
		Peer: d.there,
		Link: step.Link{Identity: w.hosts[d.from].ident},
	})
	w.input(at.Add(w.Propagation(d.to, d.from)), d.from, step.Input{
		Kind: step.InConnected,
		Peer: d.here,
		Link: step.Link{Identity: w.hosts[d.to].ident, Addr: d.address},
	})
}

// remember adds an end of a new link to host i. It removes ends of dead links when the list
// is full.
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
	l.alive = false
	l.dying = false
	l.held = nil
}

// dialTimeout is the time after which a dial to a host that does not answer fails.
const dialTimeout = 3 * time.Second

// closeLink ends a connection. The remote end is told, or notices after the idle timeout if
// the remote host is cut off.
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

// expire ends one end of a link after the idle timeout, unless the partition heals before.
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

// partition is a cut of the network: no packet passes between the hosts of from and the
// hosts of to. If oneWay is true, packets of to still reach from.
type partition struct {
	from, to func(*Host) bool
	oneWay   bool
}

// cutOff reports whether a partition stops packets from one host to another.
func (w *World) cutOff(from, to int32) bool {
	a, b := &w.hosts[from], &w.hosts[to]
	for _, p := range w.partitions {
		if p.from(a) && p.to(b) || !p.oneWay && p.from(b) && p.to(a) {
			return true
		}
	}
	return false
}

// cut starts a partition and returns a function that ends it. Links across the partition
// live on for the idle timeout. If the partition ends before, the messages that were sent
// meanwhile arrive.
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

// release sends the messages that a link held back, if no partition cuts the link any
// more. If the remote end has ended meanwhile, the idle timeout of this end runs on.
func (w *World) release(id step.PeerID) {
	l := &w.links[id]
	if !l.alive || !l.dying || w.cutOff(l.owner, l.remote) || w.cutOff(l.remote, l.owner) {
		return
	}
	if !w.links[l.other].alive {
		return // nobody answers: the idle timeout ends this end too
	}
	l.dying = false
	held := l.held
	l.held = nil
	for _, h := range held {
		w.arrive(id, h.m, w.now)
	}
}
