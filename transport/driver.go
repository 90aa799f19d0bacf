package transport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"banyan/body"
	"banyan/internal/episode"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Driver runs one mesh.Node over an endpoint: it gives the node its inputs and carries out the
// outputs.
type Driver struct {
	node     *mesh.Node
	ep       *Endpoint
	handlers Handlers
	log      *slog.Logger
	start    time.Time
	inbox    chan func()
	stores   chan *wire.Push // pushed versions that wait for the disk
	slots    chan struct{}   // one for each shard in memory
	done     sync.WaitGroup  // goroutines of the driver
	ctx      context.Context // set by Run before its goroutines start
	failing  episode.Set[failure]

	// Owned by the goroutine of loop.
	links    map[step.PeerID]*Link
	requests map[uint64]request
	fetches  map[fetchKey][]*fetching // under way: as many as the node begins
	nextID   uint64
	out      []step.Output
	lastMsg  wire.Message // the message that was encoded last; sent to many, it is encoded once
	lastBuf  []byte       // the frame of lastMsg
}

// NewDriver makes a driver; Run starts it. The caller closes the endpoint.
func NewDriver(node *mesh.Node, ep *Endpoint, h Handlers, log *slog.Logger) *Driver {
	return &Driver{
		node:     node,
		ep:       ep,
		handlers: h,
		log:      log,
		start:    time.Now(),
		inbox:    make(chan func(), inboxSize),
		stores:   make(chan *wire.Push, storeQueue),
		slots:    make(chan struct{}, maxReceiving),
		links:    map[step.PeerID]*Link{},
		requests: map[uint64]request{},
		fetches:  map[fetchKey][]*fetching{},
	}
}

// failure is what fails again and again, for the log.
type failure struct {
	config string
	fault  step.Fault
}

// arrived ends the episodes of failures of config.
func (d *Driver) arrived(config string) {
	for fault := range step.FaultVersion + 1 {
		d.failing.End(failure{config, fault})
	}
}

// now returns the node's time: the time since the driver was made.
func (d *Driver) now() step.Time { return step.Time(time.Since(d.start)) }

// Run drives the node until ctx ends. It returns when the driver's goroutines have ended.
//
// The node runs in a goroutine of its own, in which nothing is deferred, so that a panic in the node ends
// the process and shows where it was. In the goroutine of the caller, a panic would first run the deferred
// calls of the caller, which wait for other goroutines, for ever.
func (d *Driver) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.ctx = ctx
	ended := make(chan struct{})
	go func() {
		d.loop(ctx)
		close(ended)
	}()
	<-ended
	cancel()
	d.done.Wait()
}

// loop gives the node its inputs until ctx ends.
func (d *Driver) loop(ctx context.Context) {
	d.done.Go(d.accept)
	if d.handlers.Receiver != nil {
		for range storeWorkers {
			d.done.Go(d.storePushed)
		}
	}
	d.step(step.Input{Kind: step.InStart})
	timer := time.NewTimer(0)
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
			timer.Stop()
			return
		}
	}
}

// Input gives the node an input, in the driver's goroutine. It blocks while the inbox is
// full. It returns false if ctx ends first.
func (d *Driver) Input(ctx context.Context, in step.Input) bool {
	return d.post(ctx, func() { d.step(in) })
}

// Decide calls fn in the driver's goroutine and gives the node the inputs that fn returns. No
// other input comes between.
func (d *Driver) Decide(ctx context.Context, fn func(n *mesh.Node) []step.Input) bool {
	return d.post(ctx, func() {
		for _, in := range fn(d.node) {
			d.step(in)
		}
	})
}

// Evicted queues the input that a version is no longer on disk.
func (d *Driver) Evicted(v record.VersionKey) {
	d.feed(step.Input{Kind: step.InEvicted, Body: step.Body{Version: v}})
}

// Do calls fn in the driver's goroutine and waits for its end. It returns false if ctx ends first: fn may
// then still run, and the caller must not read what fn writes.
func (d *Driver) Do(ctx context.Context, fn func(n *mesh.Node)) bool {
	finished := make(chan struct{})
	call := func() {
		fn(d.node)
		close(finished)
	}
	if !d.post(ctx, call) {
		return false
	}
	select {
	case <-finished:
		return true
	case <-ctx.Done():
		return false
	}
}

// FetchFrom asks a peer for a version, outside of the node's exchange, and calls take with the
// offer.
func (d *Driver) FetchFrom(
	ctx context.Context,
	peer step.PeerID,
	want record.VersionKey,
	wish body.Wish,
	take func(body.Offer) error,
) error {
	var link *Link
	running := d.Do(ctx, func(*mesh.Node) { link = d.links[peer] })
	switch {
	case !running:
		return context.Cause(ctx)
	case link == nil:
		return errors.New("the link to the peer is gone")
	}
	return link.fetch(ctx, want, wish, nil, take)
}

func (d *Driver) post(ctx context.Context, fn func()) bool {
	select {
	case d.inbox <- fn:
		return true
	case <-ctx.Done():
		return false
	}
}

// postSelf is post for the goroutines of the driver.
func (d *Driver) postSelf(fn func()) bool { return d.post(d.ctx, fn) }

// feed queues an input. Goroutines of the driver call feed, and so does the applier of an
// agent, through Evicted.
func (d *Driver) feed(in step.Input) { d.postSelf(func() { d.step(in) }) }

// step gives the node an input and carries out its outputs. It runs in the goroutine
// of loop.
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

// carryOut carries out an output of the node. It must not block.
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
		d.awaitDrain(o.Peer)
	case step.OpStore:
		d.store(o.Push)
	case step.OpFetch:
		d.fetch(o)
	case step.OpServe:
		d.serve(o.Body.Request, o.Body.Version, o.Body.Choice)
	case step.OpSendShard:
		d.sendShard(o.Peer, o.Shard.Key, o.Shard.Number)
	case step.OpAssemble:
		d.assemble(o.Shard.Key)
	case step.OpAbandon:
		want := o.Body.Version
		d.done.Go(func() { d.handlers.Receiver.Abandon(want) })
	case step.OpDeny:
		d.deny(o.Body.Request, o.Reason)
	case step.OpActivate:
		d.activate(o.Pointer.Announcement, o.Pointer.Version)
	default:
		d.handlers.Observe(*o)
	}
}

// awaitDrain feeds InDrained when every message to peer has left.
func (d *Driver) awaitDrain(peer step.PeerID) {
	l := d.links[peer]
	if l == nil {
		return
	}
	drained := func() { d.feed(step.Input{Kind: step.InDrained, Peer: peer}) }
	if l.onDrained(drained) {
		d.done.Go(drained)
	}
}

// activate has the pointer applied, and feeds the outcome.
func (d *Driver) activate(a *wire.Announcement, version record.Ref) {
	d.handlers.Pointers.Activate(a, version, func(why step.Failure, latencyMicros int64) {
		d.feed(step.Input{
			Kind:    step.InActivated,
			Pointer: step.Pointer{Announcement: a, Version: version, LatencyMicros: latencyMicros},
			Failure: why,
		})
	})
}

// send queues a message on the link to a peer. It cuts the link if too much waits there.
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
		d.lastMsg = m
		d.lastBuf = f
	}
	err := l.sendFrame(d.lastBuf)
	switch {
	case errors.Is(err, errCongested):
		d.step(step.Input{Kind: step.InCongested, Peer: to})
	case err != nil:
		d.log.Warn("link cut", "peer", l.id.Name, "error", err)
		l.Close("too slow")
	}
}

// accept adopts the links that peers dial.
func (d *Driver) accept() {
	for {
		l, err := d.ep.Accept(d.ctx)
		if err != nil {
			return
		}
		d.postSelf(func() {
			id := d.adopt(l)
			d.step(step.Input{Kind: step.InAccepted, Peer: id, Link: step.Link{Identity: l.id.Mesh()}})
		})
	}
}

// connect dials addr and adopts the link.
func (d *Driver) connect(addr string) {
	d.done.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, handshakeTimeout)
		defer cancel()
		l, err := d.ep.Dial(ctx, addr)
		if err != nil {
			d.log.Debug("dial failed", "addr", addr, "error", err)
			d.feed(step.Input{
				Kind:    step.InConnectFailed,
				Link:    step.Link{Addr: addr},
				Failure: step.Failure{Reason: err.Error()},
			})
			return
		}
		adopted := d.postSelf(func() {
			id := d.adopt(l)
			d.step(step.Input{
				Kind: step.InConnected,
				Peer: id,
				Link: step.Link{Addr: addr, Identity: l.id.Mesh()},
			})
		})
		if !adopted {
			l.Close("shutting down")
		}
	})
}

// adopt gives a link its id and starts to read it.
func (d *Driver) adopt(l *Link) step.PeerID {
	d.nextID++
	id := step.PeerID(d.nextID)
	d.links[id] = l
	d.done.Go(func() { d.read(id, l) })
	d.done.Go(func() {
		l.requests(d.ctx, func(r request) {
			r.peer = id
			d.postSelf(func() { d.requested(r) })
		})
	})
	return id
}

// read gives the node the messages of a link, and then the end of the link.
func (d *Driver) read(id step.PeerID, l *Link) {
	readShards := func() {
		if d.handlers.Receiver == nil {
			return
		}
		d.done.Go(func() {
			l.receiveShards(d.ctx, d.slots, func(key record.FormKey, n int, shard []byte) {
				d.putShard(id, l, key, n, shard)
			})
		})
	}
	err := l.messages(d.ctx, readShards, func(m wire.Message) {
		d.feed(step.Input{Kind: step.InReceived, Peer: id, Message: m})
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
