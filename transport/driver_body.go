package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"banyan/mesh"
	"banyan/record"
)

// fetch asks a peer for a version, and stores what it sends, or begins the trade of
// shards if that is an index.
func (d *Driver) fetch(from mesh.PeerID, want mesh.VersionKey) {
	l := d.links[from]
	d.done.Go(func() {
		if l == nil {
			d.postSelf(func() { d.step(mesh.Input{Kind: mesh.InFetched, Want: want, Reason: mesh.ReasonLinkLost}) })
			return
		}
		in := mesh.Input{Kind: mesh.InFetched, Want: want}
		err := l.fetch(d.ctx, want, d.handler.Held(want.Config), func(o Offer) (err error) {
			d.postSelf(func() { d.step(mesh.Input{Kind: mesh.InAnswered, Want: want}) })
			if o.What != ContentIndex {
				in.Forms, err = d.handler.StoreBody(d.ctx, want, o)
				return err
			}
			in.Kind, in.Form = mesh.InIndexed, o.Form
			in.Info, in.Shards, err = d.handler.BeginForm(d.ctx, want, o)
			return err
		})
		if err != nil {
			in = d.failed(from, l, want, err)
		}
		d.postSelf(func() { d.step(in) })
	})
}

// failed makes of the error of a fetch what the node is told.
func (d *Driver) failed(from mesh.PeerID, l *Link, want mesh.VersionKey, err error) mesh.Input {
	in := mesh.Input{Kind: mesh.InFetched, Want: want, Reason: fetchReason(d.ctx, l, err), Local: errors.As(err, new(*localError))}
	d.log.Warn("fetch failed", "config", want.Config, "version", want.Version, "from", l.id.Name, "reason", in.Reason, "error", err)
	if r := record.Reason(err); r != "other" {
		d.postSelf(func() { d.handler.Observe(mesh.Output{Op: mesh.OpRefused, Peer: from, Name: l.id.Name, Reason: r}) })
	}
	return in
}

// storePushed stores pushed versions, one after another, until the driver ends.
func (d *Driver) storePushed() {
	for {
		select {
		case p := <-d.stores:
			want := mesh.VersionKey{Config: p.Config, Version: p.Version}
			in := mesh.Input{Kind: mesh.InFetched, Want: want, Local: true}
			var err error
			if in.Forms, err = d.handler.StoreBody(d.ctx, want, Offer{Manifest: p.Manifest, Size: int64(len(p.Body)), Bytes: bytes.NewReader(p.Body)}); err != nil {
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
func storeQueueFull(p *mesh.Push) mesh.Input {
	return mesh.Input{Kind: mesh.InFetched, Want: mesh.VersionKey{Config: p.Config, Version: p.Version}, Reason: "store: queue is full", Local: true}
}

func (d *Driver) serve(id uint64, want mesh.VersionKey) {
	r, ok := d.requests[id]
	if !ok {
		return
	}
	delete(d.requests, id)
	d.done.Go(func() {
		o, err := d.handler.OpenBody(d.ctx, want, r.have)
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
func (d *Driver) sendShard(to mesh.PeerID, key mesh.FormKey, n int) {
	l := d.links[to]
	d.done.Go(func() {
		err := errLinkLost
		if l != nil {
			buf := shardBuffers.Get().(*[record.MaxShardBytes]byte)
			defer shardBuffers.Put(buf)
			var shard []byte
			if shard, err = d.handler.GetShard(key, n, buf[:]); err == nil {
				err = l.sendShard(d.ctx, key, n, shard)
			}
		}
		in := mesh.Input{Kind: mesh.InSent, Peer: to, Key: key, Shard: n}
		if err != nil {
			in.Reason = err.Error()
			d.log.Debug("shard not sent", "config", key.Config, "version", key.Version, "shard", n, "error", err)
		}
		d.postSelf(func() { d.step(in) })
	})
}

var errLinkLost = errors.New("the link is lost")

// putShard stores a shard that came, and tells the node.
func (d *Driver) putShard(from mesh.PeerID, l *Link, key mesh.FormKey, n int, shard []byte) {
	in := mesh.Input{Kind: mesh.InShard, Peer: from, Key: key, Shard: n}
	var err error
	in.Restored, err = d.handler.PutShard(key, n, shard)
	switch {
	case err == nil:
	case errors.Is(err, record.ErrChecksum):
		in.Reason = mesh.ReasonPoison
		d.log.Warn("poison", "config", key.Config, "version", key.Version, "shard", n, "from", l.id.Name, "error", err)
	case record.Reason(err) != "other":
		in.Reason = mesh.ReasonPoison
	default:
		in.Reason, in.Local = fmt.Sprintf("store: %s", err), true
	}
	d.postSelf(func() { d.step(in) })
}

// assemble makes the body of a form that is complete.
func (d *Driver) assemble(key mesh.FormKey) {
	d.done.Go(func() {
		in := mesh.Input{Kind: mesh.InFetched, Want: key.VersionKey, Key: key, Local: true}
		var err error
		if in.Forms, err = d.handler.Assemble(d.ctx, key); err != nil {
			in.Reason = "store: " + err.Error()
			d.log.Warn("body not assembled", "config", key.Config, "version", key.Version, "error", err)
		}
		d.postSelf(func() { d.step(in) })
	})
}
