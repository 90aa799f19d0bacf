package agent

import (
	"context"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
)

// handlers returns what the driver calls.
func (a *Agent) handlers() transport.Handlers {
	return transport.Handlers{
		Bodies:   a.bodies,
		Receiver: a.bodies,
		Cache:    a.bodies,
		Pointers: a,
		Bases:    a.output.bases,
		Observe:  a.observe,
	}
}

// Activate implements transport.PointerOwner.
func (a *Agent) Activate(
	ann *wire.Announcement, version record.Ref, done func(why step.Failure, latencyMicros int64),
) {
	watermark := a.keeper.durable(a.node.Watermark())
	act := activation{announcement: ann, version: version, watermark: watermark, done: done}
	if rule := a.hooks.ruleFor(act); rule != nil {
		a.hooks.start(a.ctx, act, rule)
	} else {
		a.applier.add(act)
	}
}

// observe counts and logs the reports of the node. It runs in the driver's goroutine.
func (a *Agent) observe(o step.Output) {
	a.children.Store(int64(a.node.Children()))
	a.attached.Store(a.node.Attached())
	switch o.Op {
	case step.OpAccepted:
		pointer := &o.Pointer.Announcement.Pointer
		a.applied.setNamed(pointer)
		a.hooks.supersede(pointer)
		a.metrics.verified.Update(float64(time.Now().UnixMicro()-pointer.TimeMicros) / 1e6)
		a.emit(Event{Kind: EventVerified, Pointer: *pointer})
	case step.OpKeep:
		a.keeper.keep(o.Pointer.Announcement, a.node.Watermark())
	case step.OpRefused:
		a.metrics.refused(o.Reason)
		a.log.Warn("refused", "reason", o.Reason, "from", o.Name)
		a.emit(Event{Kind: EventRefused, Reason: o.Reason, Peer: o.Name})
	case step.OpHead:
		a.applied.sawHead(o.Head.TimeMicros)
	case step.OpGap:
		a.metrics.gaps.Inc()
		a.log.Warn("the parent has sent fewer pointers than the head names", "head_revision", o.Revision)
	case step.OpAttached:
		parent, _ := a.node.Parent()
		a.log.Info("attached", "parent", parent.Name)
		a.trouble.attached()
	case step.OpDuplicate:
		a.metrics.duplicates.Inc()
	case step.OpSuspect:
		a.metrics.suspects.Inc()
		a.log.Debug("a source of shards is silent", "source", o.Name, "config", o.Body.Version.Config, "version", o.Body.Version.Version)
	case step.OpSlow:
		a.metrics.slow.Inc()
	case step.OpGossip:
		a.group.Go(func() { a.gossip.join(o.Addrs) })
	case step.OpAlone:
		a.trouble.alone(o.Addr, o.Reason)
	case step.OpDrop:
		a.metrics.dropped.Inc()
	}
}

// deleted makes the shard store and the node forget a deleted version.
func (a *Agent) deleted(v record.VersionKey) {
	a.bodies.Abandon(v)
	a.driver.Evicted(v)
}

// lost makes the node forget a version whose files are missing or altered. The node fetches the
// version again before it has the version applied. Shards that are on their way already stay.
func (a *Agent) lost(v record.VersionKey) {
	if !a.bodies.isArriving(v) {
		a.bodies.Abandon(v)
	}
	a.driver.Evicted(v)
}

// hold makes the node serve the given forms of a version, and no others.
func (a *Agent) hold(v record.VersionKey, forms uint8) {
	a.tell(a.ctx, step.Input{Kind: step.InHold, Body: step.Body{Version: v, Forms: forms}})
}

// tell gives the node an input.
func (a *Agent) tell(ctx context.Context, in step.Input) { a.driver.Input(ctx, in) }

func (a *Agent) emit(e Event) {
	if a.cfg.OnEvent != nil {
		e.Agent = a.Name()
		e.At = time.Now()
		a.cfg.OnEvent(e)
	}
}
