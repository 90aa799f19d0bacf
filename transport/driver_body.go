package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"banyan/body"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// fetch asks a peer for a version, and stores what it sends, or begins the trade of
// shards if that is an index.
func (d *Driver) fetch(o *step.Output) {
	from, want, l := o.Peer, o.Want, d.links[o.Peer]
	wish, cached := body.Wish{Choice: o.Choice, FormOnly: o.Cached}, o.Cached
	if cached {
		wish.Have = d.requests[o.Request].wish.Have
	}
	d.done.Go(func() {
		in := step.Input{Kind: step.InFetched, Want: want, Choice: wish.Choice}
		if l == nil {
			in.Reason = mesh.ReasonLinkLost
			d.postSelf(func() { d.step(in) })
			return
		}
		if !cached && d.handlers.Bases != nil {
			wish.Have = d.handlers.Bases(want.Config)
		}
		err := l.fetch(d.ctx, want, wish, func(o body.Offer) error {
			d.postSelf(func() { d.step(step.Input{Kind: step.InAnswered, Want: want, Choice: wish.Choice}) })
			return d.take(&in, o, cached)
		})
		if err != nil {
			in = d.failed(from, l, want, err)
			in.Choice = wish.Choice
		}
		d.postSelf(func() { d.step(in) })
	})
}

// take stores what a peer offers, and makes of it what the node is told.
func (d *Driver) take(in *step.Input, o body.Offer, cached bool) (err error) {
	if o.What != body.ContentIndex && !cached {
		in.Forms, err = d.handlers.Receiver.StoreBody(d.ctx, in.Want, o)
		return err
	}
	in.Kind, in.Form = step.InIndexed, o.Form
	if cached {
		in.Info, in.Shards, err = d.handlers.Cache.CacheForm(d.ctx, in.Want, in.Choice, o)
	} else {
		in.Info, in.Shards, err = d.handlers.Receiver.BeginForm(d.ctx, in.Want, o)
	}
	return err
}

// failed makes of the error of a fetch what the node is told.
func (d *Driver) failed(from step.PeerID, l *Link, want record.VersionKey, err error) step.Input {
	in := step.Input{Kind: step.InFetched, Want: want, Reason: fetchReason(d.ctx, l, err), Local: errors.As(err, new(*localError)), Denied: errors.As(err, new(*DeniedError))}
	d.log.Warn("fetch failed", "config", want.Config, "version", want.Version, "from", l.id.Name, "reason", in.Reason, "error", err)
	if r := refusalReason(err); r != "" {
		d.postSelf(func() { d.handlers.Observe(step.Output{Op: step.OpRefused, Peer: from, Name: l.id.Name, Reason: r}) })
	}
	return in
}

// storePushed stores pushed versions, one after another, until the driver ends.
func (d *Driver) storePushed() {
	for {
		select {
		case p := <-d.stores:
			want := record.VersionKey{Config: p.Config, Version: p.Version}
			in := step.Input{Kind: step.InFetched, Want: want, Local: true}
			var err error
			if in.Forms, err = d.handlers.Receiver.StoreBody(d.ctx, want, body.Offer{Signed: p.Manifest, Size: int64(len(p.Body)), Bytes: bytes.NewReader(p.Body)}); err != nil {
				in.Reason = "store: " + err.Error()
				d.log.Warn("pushed version not stored", "config", p.Config, "version", p.Version, "error", err)
			}
			d.postSelf(func() { d.step(in) })
		case <-d.ctx.Done():
			return
		}
	}
}

// storeQueueFull is what the node is told of a pushed version when the disk is behind:
// it fetches it when its retry comes.
func storeQueueFull(p *wire.Push) step.Input {
	return step.Input{Kind: step.InFetched, Want: record.VersionKey{Config: p.Config, Version: p.Version}, Reason: "store: queue is full", Local: true}
}

// serve sends a peer the body that it asked for. If another form of it is to be had
// first, the node is asked anew, for that form.
func (d *Driver) serve(id uint64, want record.VersionKey, choice wire.FormChoice) {
	r, ok := d.requests[id]
	if !ok {
		return
	}
	delete(d.requests, id)
	wish := r.wish
	wish.Choice = choice
	d.done.Go(func() {
		o, err := d.handlers.Bodies.OpenBody(d.ctx, want, wish)
		var other *body.OtherFormError
		if errors.As(err, &other) && choice == wire.AnyForm {
			d.postSelf(func() {
				d.requests[id] = r
				d.step(step.Input{Kind: step.InRequest, Peer: r.peer, Request: id, Want: want, Choice: wire.OnlyForm(other.Form)})
			})
			return
		}
		if err != nil {
			d.log.Warn("body not served", "config", want.Config, "version", want.Version, "error", err)
			r.deny(err.Error())
			return
		}
		if c, ok := o.Bytes.(io.Closer); ok {
			defer c.Close()
		}
		if err := r.serve(d.ctx, o); err != nil {
			d.log.Debug("body not served", "config", want.Config, "version", want.Version, "error", err)
		}
	})
}

// sendShard sends a shard to a peer, and tells the node when it has left.
func (d *Driver) sendShard(to step.PeerID, key record.FormKey, n int) {
	l := d.links[to]
	d.done.Go(func() {
		err := errLinkLost
		if l != nil {
			buf := shardBuffers.Get().(*[record.MaxShardBytes]byte)
			defer shardBuffers.Put(buf)
			var shard []byte
			if shard, err = d.handlers.Bodies.GetShard(key, n, buf[:]); err == nil {
				err = l.sendShard(d.ctx, key, n, shard)
			}
		}
		in := step.Input{Kind: step.InSent, Peer: to, Key: key, Shard: n}
		if err != nil {
			in.Reason = err.Error()
			d.log.Debug("shard not sent", "config", key.Config, "version", key.Version, "shard", n, "error", err)
		}
		d.postSelf(func() { d.step(in) })
	})
}

var errLinkLost = errors.New("the link is lost")

// putShard stores a shard that came, and tells the node.
func (d *Driver) putShard(from step.PeerID, l *Link, key record.FormKey, n int, shard []byte) {
	in := step.Input{Kind: step.InShard, Peer: from, Key: key, Shard: n}
	var err error
	in.Restored, err = d.handlers.Receiver.PutShard(key, n, shard)
	switch {
	case err == nil:
	case errors.Is(err, record.ErrChecksum):
		in.Reason = mesh.ReasonPoison
		d.log.Warn("poison", "config", key.Config, "version", key.Version, "shard", n, "from", l.id.Name, "error", err)
	case refusalReason(err) != "":
		in.Reason = mesh.ReasonPoison
	default:
		in.Reason, in.Local = fmt.Sprintf("store: %s", err), true
	}
	d.postSelf(func() { d.step(in) })
}

// assemble makes the body of a form that is complete.
func (d *Driver) assemble(key record.FormKey) {
	d.done.Go(func() {
		in := step.Input{Kind: step.InFetched, Want: key.VersionKey, Key: key, Local: true}
		var err error
		if in.Forms, err = d.handlers.Receiver.Assemble(d.ctx, key); err != nil {
			in.Reason = "store: " + err.Error()
			d.log.Warn("body not assembled", "config", key.Config, "version", key.Version, "error", err)
		}
		d.postSelf(func() { d.step(in) })
	})
}
