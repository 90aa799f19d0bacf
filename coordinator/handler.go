package coordinator

import (
	"context"
	"fmt"
	"io"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// The methods of this file make *Coordinator a transport.Handler. Activate and
// StoreBody are a follower's alone: a leader's node has no parent.

// Observe implements transport.Handler.
func (c *Coordinator) Observe(o mesh.Output) {
	c.children.Store(int64(c.node.Children()))
	c.attached.Store(c.node.Attached())
	switch o.Op {
	case mesh.OpAcked:
		for i := range o.Message.(*mesh.Ack).Entries {
			c.tracker.acked(&o.Message.(*mesh.Ack).Entries[i])
		}
	case mesh.OpPlaced:
		c.agents.Store(int64(o.Count))
		c.tracker.setAgents(c.cfg.Identity.Identity.Name, c.region, o.Count)
		c.censusSoon()
	case mesh.OpCensus:
		c.tracker.setAgents(o.Name, o.Region, o.Count)
	case mesh.OpRefused:
		c.metrics.refused(o.Reason)
		c.log.Warn("refused", "reason", o.Reason)
	case mesh.OpSlow:
		c.metrics.slow.Inc()
	case mesh.OpAccused:
		c.metrics.accused.Inc()
		c.log.Warn("an agent left its parent because it withheld; it relays no more for now", "parent", o.Reason)
	case mesh.OpHead:
		c.headTime.Store(o.Head.TimeMicros)
	case mesh.OpGap:
		c.log.Warn("leader is behind its head", "head_revision", o.Revision)
	case mesh.OpAttached:
		c.log.Info("follows", "leader", c.cfg.Leader)
		c.censusSoon()
	}
}

// censusSoon tells the leader of a change in the number of agents, once for all
// that change together.
func (c *Coordinator) censusSoon() {
	if c.Leads() || !c.censusDue.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(censusDelay, func() {
		c.censusDue.Store(false)
		c.driver.Decide(c.ctx, c.headsOrCensus)
	})
}

// OpenBody implements transport.Handler.
func (c *Coordinator) OpenBody(ctx context.Context, want mesh.VersionKey) ([]byte, int64, io.ReadCloser, error) {
	v, err := c.store.Version(ctx, want.Config, want.Version)
	if err != nil {
		return nil, 0, nil, err
	}
	body, size, err := c.blobs.Open(ctx, v.Manifest.BodySHA256)
	return v.Raw, size, body, err
}

// StoreBody implements transport.Handler.
func (c *Coordinator) StoreBody(ctx context.Context, want mesh.VersionKey, manifest []byte, size int64, body io.Reader) error {
	m, err := c.cfg.Identity.Policy.VerifyManifestOf(manifest, want.Config, want.Version)
	if err != nil {
		return err
	}
	if m.BodySize != size {
		return fmt.Errorf("%w: the peer offers %d bytes, the manifest says %d", record.ErrChecksum, size, m.BodySize)
	}
	if err := c.blobs.Put(ctx, m.BodySHA256, m.BodySize, body); err != nil {
		return err
	}
	revision, err := c.store.Revision(ctx)
	if err != nil {
		return err
	}
	return c.store.ImportManifest(ctx, m, manifest, revision)
}

// Activate implements transport.Handler: a follower keeps the pointer.
func (c *Coordinator) Activate(a *mesh.Announcement, _ uint64, done func(string, int64)) {
	go func() {
		err := c.store.ImportPointer(context.Background(), a.Pointer, a.Raw, a.Revision)
		latency := time.Now().UnixMicro() - a.Pointer.TimeMicros
		if err != nil {
			c.log.Error("pointer not kept", "config", a.Pointer.Config, "epoch", a.Pointer.Epoch, "error", err)
			done(err.Error(), latency)
			return
		}
		c.tracker.moved(a.Pointer)
		done("", latency)
	}()
}

// restoreReplica gives a follower's node what the replica holds.
func (c *Coordinator) restoreReplica(ctx context.Context) error {
	pointers, err := c.store.Pointers(ctx, c.region, 0)
	if err != nil {
		return err
	}
	for _, p := range pointers {
		a := &mesh.Announcement{Revision: p.Revision, Raw: p.Raw, Pointer: p.Pointer}
		c.node.Step(0, mesh.Input{Kind: mesh.InRestore, Announcement: a, Version: p.Pointer.Baseline}, nil)
		c.tracker.moved(p.Pointer)
		versions, err := c.store.History(ctx, p.Pointer.Config, 0, 0)
		if err != nil {
			return err
		}
		for _, v := range versions {
			if body, _, err := c.blobs.Open(ctx, v.Manifest.BodySHA256); err == nil {
				body.Close()
				c.node.Step(0, mesh.Input{Kind: mesh.InHold, Want: mesh.VersionKey{Config: v.Manifest.Config, Version: v.Manifest.Version}}, nil)
			}
		}
	}
	// Two pointers may have been imported out of order before a crash: asking for
	// everything again costs a few hundred bytes a config, once.
	c.node.Step(0, mesh.Input{Kind: mesh.InResume, Revision: 0}, nil)
	return nil
}
