package coordinator

import (
	"context"
	"log/slog"
	"time"

	"banyan/body"
	"banyan/internal/episode"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport"
)

// handlers returns what the driver calls. A leader's node has no parent: it receives no
// bodies and applies no pointers.
func (c *Coordinator) handlers() transport.Handlers {
	h := transport.Handlers{
		Bodies: &bodyServer{
			offers: body.Server{Library: c.library, Arriving: c.shards},
			shards: c.shards,
			sent:   c.metrics.shardBytes,
		},
		Observe: c.observe,
	}
	if c.replica != nil {
		h.Receiver = c.replica
		h.Pointers = c.replica
	}
	return h
}

// observe counts and logs what the node reports, and keeps the tracker up to date. It runs
// in the driver's goroutine.
func (c *Coordinator) observe(o step.Output) {
	c.children.Store(int64(c.node.Children()))
	c.attached.Store(c.node.Attached())
	switch o.Op {
	case step.OpBehind:
		c.hearEvidence(o)
	case step.OpRecovered:
		c.recovery.hear(o.Peer, o.Pointer.Announcement)
	case step.OpSentAll:
		c.recovery.heardAll(o.Peer)
	case step.OpAccepted:
		c.tracker.moved(o.Pointer.Announcement.Pointer)
	case step.OpAcked:
		entries := o.Message.(*wire.Ack).Entries
		for i := range entries {
			c.tracker.with(func(f *rollout.Tracker) { f.Acked(&entries[i]) })
			c.rollouts.runs.acked(entries[i].Key())
			c.rollouts.news.ofPointer(entries[i].Key())
		}
		c.rollouts.signal()
	case step.OpPlaced:
		c.agents.Store(int64(o.Count))
		c.tracker.with(func(f *rollout.Tracker) { f.Placed(c.cfg.Identity.Identity.Name, c.region, o.Count) })
		c.roster.signal()
		c.censusSoon()
	case step.OpReserve:
		go c.reserveIndices()
	case step.OpCensus:
		c.counted(o.Name, o.Region, o.Message.(*wire.Census))
	case step.OpCloned:
		c.metrics.clones.Inc()
		c.log.Error("two hosts run with one identity; neither counts as applied: give one of them an identity of its own"+
			" (banyan cert agent)", "agent", o.Name, "at", o.Reason)
	case step.OpQuarantined:
		c.metrics.quarantines.Inc()
		c.log.Warn("agent quarantined", "agent", o.Name, "config", o.Body.Version.Config, "reason", o.Reason)
		c.censusSoon()
	case step.OpReleased:
		c.log.Info("agent released from quarantine", "agent", o.Name, "config", o.Body.Version.Config)
		c.censusSoon()
	case step.OpDrifted:
		d := o.Message.(*wire.Drift)
		c.metrics.drifts.Inc()
		c.log.Warn("drift", "agent", d.Name, "of", d.Region, "config", d.Config, "version", d.Version, "state", d.State)
		c.tracker.drifted(d)
	case step.OpHoldings:
		c.surveys.hear(o.Message.(*wire.Holdings))
	case step.OpHead:
		c.headTime.Store(min(o.Head.TimeMicros, time.Now().UnixMicro())) // its clock may be ahead
	case step.OpAlone:
		c.log.Log(context.Background(), c.apart.Level(o.Reason, slog.LevelWarn), "does not reach the leader; goes on trying",
			"leader", o.Addr, "reason", o.Reason)
	case step.OpAttached:
		c.apart = &episode.Set[string]{}
		c.log.Info("follows", "leader", c.cfg.Leader)
		c.censusSoon()
	default:
		c.observeFault(o)
	}
}

// observeFault counts and logs the faults of others that the node reports.
func (c *Coordinator) observeFault(o step.Output) {
	switch o.Op {
	case step.OpRefused:
		c.metrics.refused(o.Reason)
		c.log.Warn("refused", "reason", o.Reason)
	case step.OpSlow:
		c.metrics.slow.Inc()
	case step.OpAccused:
		c.metrics.accused.Inc()
		c.log.Warn("an agent left its parent for a fault (withheld announcements, damaged bodies, or a loop); "+
			"the parent gets no new children for now", "parent", o.Name)
	case step.OpGap:
		c.log.Warn("the leader has signed a head that names newer pointers than it sent", "head_revision", o.Revision)
	}
}

// counted takes the census of a coordinator. Most censuses say what the one before said.
func (c *Coordinator) counted(coordinator, region string, census *wire.Census) {
	var changed rollout.Recount
	c.tracker.with(func(f *rollout.Tracker) { changed = f.Counted(coordinator, region, census, time.Now()) })
	if changed.Agents {
		c.rollouts.news.ofRegion(region)
	}
	for _, config := range changed.Waves {
		c.rollouts.news.ofPointer(record.PointerKey{Config: config, Region: region})
	}
	if changed.Agents || len(changed.Waves) > 0 {
		c.rollouts.signal()
	}
}

// hearEvidence compares a host's record with the store, outside of the driver's goroutine. One
// record at a time is enough: hosts repeat what they have.
func (c *Coordinator) hearEvidence(o step.Output) {
	if !c.Leads() || !c.hearing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer c.hearing.Store(false)
		c.lineage.hear(c.ctx, o)
	}()
}

// reserveIndices reserves the next block of agent indices, outside of the driver's goroutine.
func (c *Coordinator) reserveIndices() {
	indices, err := c.takeIndices(c.ctx)
	if err != nil && c.ctx.Err() == nil {
		c.log.Error("agents that join can't be given an index", "err", err)
	}
	c.driver.Input(c.ctx, step.Input{Kind: step.InReserved, Indices: indices})
}

// takeIndices reserves a block of agent indices. The coordinators of a region have cells of
// their own.
func (c *Coordinator) takeIndices(ctx context.Context) (step.Indices, error) {
	first, err := c.store.ReserveIndices(ctx, c.region)
	if err != nil {
		return step.Indices{}, err
	}
	return step.Indices{First: first + uint32(c.cfg.Cell)<<tree.CellBits, Count: tree.IndexBlock}, nil
}

// censusSoon has the node count the region's agents and send the census to the leader.
// Changes within censusDelay are sent together.
func (c *Coordinator) censusSoon() {
	if !c.running.Load() || !c.censusDue.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(censusDelay, func() {
		c.censusDue.Store(false)
		c.driver.Input(c.ctx, step.Input{Kind: step.InCensus})
	})
}
