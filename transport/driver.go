package transport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Driver runs one mesh.Node over an endpoint.
type Driver struct {
	node     *mesh.Node
	ep       *Endpoint
	handlers Handlers
	log      *slog.Logger
	start    time.Time
	inbox    chan func()
	stores   chan *wire.Push // pushed versions on their way to disk
	slots    chan struct{}   // for shards in memory
	done     sync.WaitGroup

	// Owned by the goroutine of Run.
	ctx      context.Context
	links    map[step.PeerID]*Link
	requests map[uint64]request
	nextID   uint64
	out      []step.Output
	lastMsg  wire.Message // the message framed last, so that one sent to many is encoded once
	lastBuf  []byte
}

// NewDriver makes a driver; Run starts it. The endpoint stays the caller's to close.
func NewDriver(node *mesh.Node, ep *Endpoint, h Handlers, log *slog.Logger) *Driver {
	return &Driver{node: node, ep: ep, handlers: h, log: log, start: time.Now(),
		inbox: make(chan func(), inboxSize), stores: make(chan *wire.Push, storeQueue), slots: make(chan struct{}, maxReceiving), links: map[step.PeerID]*Link{}, requests: map[uint64]request{}}
}

func (d *Driver) now() step.Time { return step.Time(time.Since(d.start)) }

// Run drives the node until ctx ends, then waits for its goroutines.
func (d *Driver) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer d.done.Wait()
	defer cancel()
	d.ctx = ctx
	d.done.Go(d.accept)
	if d.handlers.Receiver != nil {
		for range storeWorkers {
			d.done.Go(d.storePushed)
		}
	}
	d.step(step.Input{Kind: step.InStart})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if deadline := d.node.Deadline(); deadline != step.Never {
			timer.Reset(time.Duration(max(deadline-d.now(), 0)))
		} else {
			timer.Stop()
		}
		select {
		case fn := <-d.inbox:
			fn()
		case <-timer.C:
			d.step(step.Input{Kind: step.InTick})
		case <-ctx.Done():
			for _, l := range d.links {
				l.Close("shutting down")
			}
			return
		}
	}
}

// Input feeds the node from outside the driver. It blocks while the inbox is
// full, and reports false if the driver has ended.
func (d *Driver) Input(ctx context.Context, in step.Input) bool {
	return d.post(ctx, func() { d.step(in) })
}

// Decide runs fn with the node in the driver's goroutine and feeds the node the
// inputs it returns, with nothing between the two.
func (d *Driver) Decide(ctx context.Context, fn func(n *mesh.Node) []step.Input) bool {
	return d.post(ctx, func() {
		for _, in := range fn(d.node) {
			d.step(in)
		}
	})
}

// Evicted tells the node, some time soon, that a body is no longer held.
func (d *Driver) Evicted(v record.VersionKey) {
	d.postSelf(func() { d.step(step.Input{Kind: step.InEvicted, Want: v}) })
}

// Do runs fn with the node, in the driver's goroutine, and waits for it.
func (d *Driver) Do(ctx context.Context, fn func(n *mesh.Node)) bool {
	finished := make(chan struct{})
	if !d.post(ctx, func() { fn(d.node); close(finished) }) {
		return false
	}
	select {
	case <-finished:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *Driver) post(ctx context.Context, fn func()) bool {
	select {
	case d.inbox <- fn:
		return true
	case <-ctx.Done():
		return false
	}
}

// postSelf is post for the driver's own goroutines.
func (d *Driver) postSelf(fn func()) bool { return d.post(d.ctx, fn) }

func (d *Driver) step(in step.Input) {
	out := d.node.Step(d.now(), in, d.out[:0])
	d.out = nil // carryOut may step again
	for i := range out {
		d.carryOut(&out[i])
	}
	clear(out)
	d.out = out[:0]
	d.lastMsg = nil
}

func (d *Driver) carryOut(o *step.Output) {
	switch o.Op {
	case step.OpSend:
		d.send(o.Peer, o.Message)
	case step.OpConnect:
		d.connect(o.Addr)
	case step.OpDrop:
		if l := d.links[o.Peer]; l != nil {
			l.Close(o.Reason)
		}
		d.handlers.Observe(*o)
	case step.OpAwaitDrain:
		if l, peer := d.links[o.Peer], o.Peer; l != nil {
			drained := func() { d.postSelf(func() { d.step(step.Input{Kind: step.InDrained, Peer: peer}) }) }
			if l.onDrained(drained) {
				d.done.Go(drained)
			}
		}
	case step.OpStore:
		select {
		case d.stores <- o.Push:
		default: // the disk is behind: the node fetches it when its retry comes
			d.step(storeQueueFull(o.Push))
		}
	case step.OpFetch:
		d.fetch(o)
	case step.OpServe:
		d.serve(o.Request, o.Want, o.Choice)
	case step.OpSendShard:
		d.sendShard(o.Peer, o.Key, o.Shard)
	case step.OpAssemble:
		d.assemble(o.Key)
	case step.OpAbandon:
		want := o.Want
		d.done.Go(func() { d.handlers.Receiver.Abandon(want) })
	case step.OpDeny:
		if r, ok := d.requests[o.Request]; ok {
			delete(d.requests, o.Request)
			reason := o.Reason
			d.done.Go(func() { r.deny(reason) })
		}
	case step.OpActivate:
		a, version := o.Announcement, o.Version
		d.handlers.Pointers.Activate(a, version, func(reason string, latency int64) {
			d.postSelf(func() {
				d.step(step.Input{Kind: step.InActivated, Announcement: a, Version: version, Reason: reason, LatencyMicros: latency})
			})
		})
	default:
		d.handlers.Observe(*o)
	}
}

func (d *Driver) send(to step.PeerID, m wire.Message) {
	l := d.links[to]
	if l == nil {
		return
	}
	if m != d.lastMsg {
		f, err := frame(m)
		if err != nil {
			d.log.Error("message not sent", "error", err)
			return
		}
		d.lastMsg, d.lastBuf = m, f
	}
	switch err := l.sendFrame(d.lastBuf); {
	case errors.Is(err, errCongested):
		d.step(step.Input{Kind: step.InCongested, Peer: to})
	case err != nil:
		d.log.Warn("link cut", "peer", l.id.Name, "error", err)
		l.Close("too slow")
	}
}

func (d *Driver) accept() {
	for {
		l, err := d.ep.Accept(d.ctx)
		if err != nil {
			return
		}
		d.postSelf(func() {
			id := d.adopt(l)
			d.step(step.Input{Kind: step.InPeer, Peer: id, Identity: l.id.Mesh()})
		})
	}
}

func (d *Driver) connect(addr string) {
	d.done.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, handshakeTimeout)
		defer cancel()
		l, err := d.ep.Dial(ctx, addr)
		if err != nil {
			d.log.Debug("dial failed", "addr", addr, "error", err)
			d.postSelf(func() { d.step(step.Input{Kind: step.InConnectFailed, Addr: addr, Reason: err.Error()}) })
			return
		}
		if !d.postSelf(func() {
			id := d.adopt(l)
			d.step(step.Input{Kind: step.InConnected, Peer: id, Addr: addr, Identity: l.id.Mesh()})
		}) {
			l.Close("shutting down")
		}
	})
}

// adopt gives a link its id and starts to read from it.
func (d *Driver) adopt(l *Link) step.PeerID {
	d.nextID++
	id := step.PeerID(d.nextID)
	d.links[id] = l
	d.done.Go(func() { d.read(id, l) })
	d.done.Go(func() {
		l.requests(d.ctx, func(r request) {
			d.postSelf(func() {
				d.nextID++
				r.peer = id
				d.requests[d.nextID] = r
				d.step(step.Input{Kind: step.InRequest, Peer: id, Request: d.nextID, Want: r.want, Choice: r.wish.Choice})
			})
		})
	})
	return id
}

// read feeds the link's messages to the node, then tells it that the link is gone.
func (d *Driver) read(id step.PeerID, l *Link) {
	err := l.messages(d.ctx, func() {
		if d.handlers.Receiver == nil {
			return
		}
		d.done.Go(func() {
			l.receiveShards(d.ctx, d.slots, func(key record.FormKey, n int, shard []byte) { d.putShard(id, l, key, n, shard) })
		})
	}, func(m wire.Message) {
		d.postSelf(func() { d.step(step.Input{Kind: step.InReceived, Peer: id, Message: m}) })
	})
	reason := err.Error()
	l.Close("read: " + reason)
	l.wait()
	d.postSelf(func() {
		delete(d.links, id)
		maps.DeleteFunc(d.requests, func(_ uint64, r request) bool { return r.peer == id })
		d.log.Debug("link ended", "peer", l.id.Name, "reason", reason)
		d.step(step.Input{Kind: step.InDisconnected, Peer: id})
	})
}
