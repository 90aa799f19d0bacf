package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"banyan/body"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// errLinkLost is the reason of a shard that is to be sent over a link that has ended.
var errLinkLost = errors.New("the link is lost")

// fetch asks a peer for a version, stores what the peer offers, and feeds the outcome.
func (d *Driver) fetch(o *step.Output) {
	f := &fetching{
		peer:   o.Peer,
		link:   d.links[o.Peer],
		want:   o.Body.Version,
		wish:   body.Wish{Choice: o.Body.Choice, FormOnly: o.Body.ForOthers},
		cached: o.Body.ForOthers,
	}
	if f.cached {
		f.wish.Have = d.requests[o.Body.Request].wish.Have // the form is fetched for that request
	}
	f.ctx, f.cancel = context.WithCancel(d.ctx)
	d.fetches[f.key()] = append(d.fetches[f.key()], f)
	d.done.Go(func() {
		outcome := d.runFetch(f)
		f.cancel()
		d.postSelf(func() { d.fetched(f, outcome) })
	})
}

// fetched gives the node the outcome of a fetch, unless the fetch was given up. When a body has come, the
// fetches of the same body from other peers are given up: they would use up the download limit.
func (d *Driver) fetched(f *fetching, outcome step.Input) {
	others := slices.DeleteFunc(d.fetches[f.key()], func(o *fetching) bool { return o == f })
	d.fetches[f.key()] = others
	if len(others) == 0 {
		delete(d.fetches, f.key())
	}
	if f.givenUp {
		return
	}
	if outcome.Kind == step.InFetched && outcome.Failure.OK() {
		for _, o := range others {
			o.givenUp = true
			o.cancel()
		}
	}
	d.step(outcome)
}

// fetchKey names the body that a fetch brings.
type fetchKey struct {
	version record.VersionKey
	choice  wire.FormChoice
}

// fetching is a fetch under way.
type fetching struct {
	ctx    context.Context
	cancel context.CancelFunc
	// givenUp is true if the body has come from another peer. It is owned by the goroutine of loop.
	givenUp bool

	peer   step.PeerID
	link   *Link // nil: the link has ended
	want   record.VersionKey
	wish   body.Wish
	cached bool // the version is fetched for other hosts
}

func (f *fetching) key() fetchKey { return fetchKey{f.want, f.wish.Choice} }

// runFetch carries out a fetch and returns its outcome.
func (d *Driver) runFetch(f *fetching) step.Input {
	outcome := step.Input{
		Kind: step.InFetched,
		Body: step.Body{Version: f.want, Choice: f.wish.Choice},
	}
	if f.link == nil {
		outcome.Failure = step.Failure{Reason: step.ReasonLinkLost, Fault: step.FaultPath}
		return outcome
	}
	if !f.cached && d.handlers.Bases != nil {
		f.wish.Have = d.handlers.Bases(f.want.Config)
	}
	tell := func(kind step.InputKind, delay time.Duration) {
		b := step.Body{Version: f.want, Choice: f.wish.Choice, Delay: step.Time(delay)}
		d.feed(step.Input{Kind: kind, Body: b})
	}
	waited := false
	leave, err := f.link.enter(f.ctx, func() {
		waited = true
		tell(step.InThrottled, 0)
	})
	if err != nil {
		return d.fetchFailed(f, err)
	}
	defer leave()
	if waited {
		tell(step.InAsked, 0)
	}
	delayed := func(delay time.Duration) { tell(step.InDelayed, delay) }
	err = f.link.fetch(f.ctx, f.want, f.wish, delayed, func(o body.Offer) error {
		tell(step.InAnswered, 0)
		return d.take(f.ctx, &outcome, o, f.cached)
	})
	if err != nil {
		return d.fetchFailed(f, err)
	}
	d.arrived(f.want.Config)
	return outcome
}

// take stores what a peer offers and completes the outcome.
func (d *Driver) take(ctx context.Context, outcome *step.Input, o body.Offer, cached bool) (err error) {
	want := outcome.Body.Version
	if o.What != body.ContentIndex && !cached {
		outcome.Body.Forms, err = d.handlers.Receiver.StoreBody(ctx, want, o)
		return err
	}
	outcome.Kind = step.InIndexed
	outcome.Index.Form = o.Form
	if cached {
		outcome.Index.Info, outcome.Index.Held, err = d.handlers.Cache.CacheForm(ctx, want, outcome.Body.Choice, o)
	} else {
		outcome.Index.Info, outcome.Index.Held, err = d.handlers.Receiver.BeginForm(ctx, want, o)
	}
	return err
}

// fetchFailed returns the outcome of a failed fetch, and reports a refused offer to Observe.
func (d *Driver) fetchFailed(f *fetching, err error) step.Input {
	reason := fetchReason(f.ctx, f.link, err)
	if f.ctx.Err() != nil { // no fault: the fetch was given up, or the driver ends. Nobody gets the outcome
		return step.Input{Kind: step.InFetched, Failure: step.Failure{Reason: reason, Fault: step.FaultPath}}
	}
	level := d.failing.Level(failure{f.want.Config, faultOf(err)}, slog.LevelWarn)
	d.log.Log(d.ctx, level, "fetch failed", "config", f.want.Config, "version", f.want.Version,
		"from", f.link.id.Name, "reason", reason, "error", err)
	if refusal := refusalReason(err); refusal != "" {
		report := step.Output{Op: step.OpRefused, Peer: f.peer, Name: f.link.id.Name, Reason: refusal}
		d.postSelf(func() { d.handlers.Observe(report) })
	}
	return step.Input{
		Kind:    step.InFetched,
		Body:    step.Body{Version: f.want, Choice: f.wish.Choice},
		Failure: step.Failure{Reason: reason, Fault: faultOf(err)},
	}
}

// faultOf returns who is to blame for the error of a fetch.
func faultOf(err error) step.Fault {
	switch {
	case errors.As(err, new(*DeniedError)):
		return step.FaultDenied
	case errors.As(err, new(*localError)):
		return step.FaultHost
	case refusalReason(err) != "":
		return step.FaultPeer
	}
	return step.FaultPath
}

// hostFailure returns the failure of this host to store something.
func hostFailure(reason string) step.Failure {
	return step.Failure{Reason: "store: " + reason, Fault: step.FaultHost}
}

// store queues a pushed version for the disk. If the queue is full, the node is told that the
// version was not stored, and fetches it at its next retry.
func (d *Driver) store(p *wire.Push) {
	select {
	case d.stores <- p:
	default:
		d.step(step.Input{
			Kind:    step.InFetched,
			Body:    step.Body{Version: p.Key()},
			Failure: hostFailure("queue is full"),
		})
	}
}

// storePushed stores pushed versions, one after another, until the driver ends.
func (d *Driver) storePushed() {
	for {
		select {
		case p := <-d.stores:
			d.feed(d.runStore(p))
		case <-d.ctx.Done():
			return
		}
	}
}

// runStore stores a pushed version and returns the outcome.
func (d *Driver) runStore(p *wire.Push) step.Input {
	want := p.Key()
	o := body.Offer{
		Signed: p.Manifest,
		What:   body.ContentBody,
		Size:   int64(len(p.Body)),
		Bytes:  bytes.NewReader(p.Body),
	}
	outcome := step.Input{Kind: step.InFetched, Body: step.Body{Version: want}}
	forms, err := d.handlers.Receiver.StoreBody(d.ctx, want, o)
	if err != nil {
		level := d.failing.Level(failure{p.Config, step.FaultHost}, slog.LevelWarn)
		d.log.Log(d.ctx, level, "pushed version not stored", "config", p.Config, "version", p.Version, "error", err)
		outcome.Failure = hostFailure(err.Error())
		return outcome
	}
	d.arrived(p.Config)
	outcome.Body.Forms = forms
	return outcome
}

// requested gives the node a peer's request for a version.
func (d *Driver) requested(r request) {
	d.nextID++
	id := d.nextID
	d.await(id, r)
	d.step(step.Input{
		Kind: step.InRequest,
		Peer: r.peer,
		Body: step.Body{Request: id, Version: r.want, Choice: r.wish.Choice},
	})
}

// await keeps a request until it is answered, or until the peer gives it up: the peer then stops
// reading, which ends this side of the stream.
func (d *Driver) await(id uint64, r request) {
	r.unwatch = context.AfterFunc(r.stream.Context(), func() {
		d.postSelf(func() { d.withdrawn(id) })
	})
	d.requests[id] = r
}

// withdrawn forgets a request that the peer gave up before it was answered.
func (d *Driver) withdrawn(id uint64) {
	r, ok := d.claim(id)
	if !ok {
		return
	}
	r.stream.CancelWrite(1)
	d.step(step.Input{Kind: step.InWithdrawn, Peer: r.peer, Body: step.Body{Request: id}})
}

// claim removes a request in order to answer it. ok is false if it is gone.
func (d *Driver) claim(id uint64) (r request, ok bool) {
	r, ok = d.requests[id]
	if ok {
		delete(d.requests, id)
		r.unwatch()
	}
	return r, ok
}

// deny refuses a request.
func (d *Driver) deny(id uint64, reason string) {
	r, ok := d.claim(id)
	if !ok {
		return
	}
	d.done.Go(func() { r.deny(reason) })
}

// serve sends a peer the version that it asked for. If another form should be fetched first,
// the node gets the request again, for that form.
func (d *Driver) serve(id uint64, want record.VersionKey, choice wire.FormChoice) {
	r, ok := d.claim(id)
	if !ok {
		return
	}
	wish := r.wish
	wish.Choice = choice
	d.done.Go(func() {
		o, err := d.handlers.Bodies.OpenBody(d.ctx, want, wish)
		var other *body.OtherFormError
		if errors.As(err, &other) && choice == wire.AnyForm {
			d.postSelf(func() { d.requestAgain(id, r, other.Form) })
			return
		}
		if err != nil {
			d.log.Warn("version not served", "config", want.Config, "version", want.Version, "error", err)
			r.deny(err.Error())
			return
		}
		if c, ok := o.Bytes.(io.Closer); ok {
			defer c.Close()
		}
		if err := r.serve(d.ctx, o); err != nil {
			d.log.Debug("version not served", "config", want.Config, "version", want.Version, "error", err)
		}
	})
}

// requestAgain gives the node a request again, limited to one form.
func (d *Driver) requestAgain(id uint64, r request, form uint8) {
	d.await(id, r)
	d.step(step.Input{
		Kind: step.InRequest,
		Peer: r.peer,
		Body: step.Body{Request: id, Version: r.want, Choice: wire.OnlyForm(form)},
	})
}

// sendShard sends a shard to a peer, and feeds InSent when the shard has left.
func (d *Driver) sendShard(to step.PeerID, key record.FormKey, n int) {
	l := d.links[to]
	d.done.Go(func() {
		sent := step.Input{Kind: step.InSent, Peer: to, Shard: step.Shard{Key: key, Number: n}}
		if err := d.runSendShard(l, key, n); err != nil {
			sent.Failure.Reason = err.Error()
			d.log.Debug("shard not sent", "config", key.Config, "version", key.Version, "shard", n, "error", err)
		}
		d.feed(sent)
	})
}

func (d *Driver) runSendShard(l *Link, key record.FormKey, n int) error {
	if l == nil {
		return errLinkLost
	}
	buf := shardBuffers.Get().(*[record.MaxShardBytes]byte)
	defer shardBuffers.Put(buf)
	shard, err := d.handlers.Bodies.GetShard(key, n, buf[:])
	if err != nil {
		return err
	}
	return l.sendShard(d.ctx, key, n, shard)
}

// putShard stores a shard that a peer has sent, and feeds InShard.
func (d *Driver) putShard(from step.PeerID, l *Link, key record.FormKey, n int, shard []byte) {
	in := step.Input{Kind: step.InShard, Peer: from, Shard: step.Shard{Key: key, Number: n}}
	restored, err := d.handlers.Receiver.PutShard(key, n, shard)
	in.Shard.Restored = restored
	switch {
	case err == nil:
	case refusalReason(err) != "":
		in.Failure.Reason = step.ReasonPoison
		d.log.Warn("poison", "config", key.Config, "version", key.Version, "shard", n,
			"from", l.id.Name, "error", err)
	default:
		in.Failure = hostFailure(err.Error())
	}
	d.feed(in)
}

// assemble makes the body of a complete form, and feeds the outcome.
func (d *Driver) assemble(key record.FormKey) {
	d.done.Go(func() {
		outcome := step.Input{Kind: step.InAssembled, Body: step.Body{Version: key.VersionKey}}
		forms, err := d.handlers.Receiver.Assemble(d.ctx, key)
		if err != nil {
			outcome.Failure = hostFailure(err.Error())
			if refusalReason(err) != "" { // every shard was right, so the version is wrong
				outcome.Failure.Fault = step.FaultVersion
			}
			level := d.failing.Level(failure{key.Config, outcome.Failure.Fault}, slog.LevelWarn)
			d.log.Log(d.ctx, level, "body not assembled", "config", key.Config, "version", key.Version, "error", err)
		}
		outcome.Body.Forms = forms
		d.feed(outcome)
	})
}
