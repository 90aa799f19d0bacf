package coordinator

import (
	"context"
	"time"

	"banyan/mesh"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport"
)

// handlers are what the driver calls. A leader's node has no parent: it receives no body
// and applies no pointer.
func (c *Coordinator) handlers() transport.Handlers {
	h := transport.Handlers{Bodies: c, Observe: c.observe}
	if !c.Leads() {
		h.Receiver = c
		h.Pointers = c
	}
	return h
}

// observe counts and logs what the node reports.
func (c *Coordinator) observe(o mesh.Output) {
	c.children.Store(int64(c.node.Children()))
	c.attached.Store(c.node.Attached())
	switch o.Op {
	case mesh.OpAcked:
		for i := range o.Message.(*mesh.Ack).Entries {
			c.tracker.with(func(f *rollout.Tracker) { f.Acked(&o.Message.(*mesh.Ack).Entries[i]) })
		}
		c.rollouts.awake()
	case mesh.OpPlaced:
		c.agents.Store(int64(o.Count))
		c.tracker.with(func(f *rollout.Tracker) { f.Placed(c.cfg.Identity.Identity.Name, c.region, o.Count) })
		c.censusSoon()
	case mesh.OpCensus:
		c.tracker.with(func(f *rollout.Tracker) { f.Counted(o.Name, o.Region, o.Message.(*mesh.Census), time.Now()) })
		c.rollouts.awake()
	case mesh.OpQuarantined:
		c.metrics.quarantines.Inc()
		c.log.Warn("agent quarantined", "agent", o.Name, "config", o.Want.Config, "reason", o.Reason)
		c.censusSoon()
	case mesh.OpReleased:
		c.log.Info("agent released from quarantine", "agent", o.Name, "config", o.Want.Config)
		c.censusSoon()
	case mesh.OpDrifted:
		d := o.Message.(*mesh.Drift)
		c.metrics.drifts.Inc()
		c.log.Warn("drift", "agent", d.Name, "of", d.Region, "config", d.Config, "version", d.Version, "state", d.State)
		c.tracker.drifted(d)
	case mesh.OpHoldings:
		c.surveys.hear(o.Message.(*mesh.Holdings))
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

// censusSoon counts the agents anew, for the leader, once for all that change together.
func (c *Coordinator) censusSoon() {
	if !c.running.Load() || !c.censusDue.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(censusDelay, func() {
		c.censusDue.Store(false)
		c.driver.Input(c.ctx, mesh.Input{Kind: mesh.InCensus})
	})
}

// Activate implements transport.PointerOwner: a follower keeps the pointer.
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
		c.node.Step(0, mesh.Input{Kind: mesh.InRestore, Announcement: a, Version: p.Pointer.VersionFor(c.cfg.Identity.Identity.Name, nil)}, nil)
		c.tracker.moved(p.Pointer)
		versions, err := c.store.History(ctx, p.Pointer.Config, 0, 0)
		if err != nil {
			return err
		}
		for _, v := range versions {
			if set := c.formsAtHand(v.Manifest); set&1 != 0 {
				c.node.Step(0, mesh.Input{Kind: mesh.InHold, Want: record.VersionKey{Config: v.Manifest.Config, Version: v.Manifest.Version}, Forms: set}, nil)
			}
		}
	}
	// Two pointers may have been imported out of order before a crash: asking for
	// everything again costs a few hundred bytes a config, once.
	c.node.Step(0, mesh.Input{Kind: mesh.InResume, Revision: 0}, nil)
	return nil
}
