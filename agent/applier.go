package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"banyan/mesh/wire"
	"banyan/record"
)

// applier applies activations one batch after another: one durable commit for
// all that came meanwhile, then their symlinks. Its queue holds at most one
// activation a config, because a node asks for no second before the first is done.
type applier struct {
	agent *Agent
	wake  chan struct{}

	mu    sync.Mutex
	queue []activation // guarded by mu
	index uint32       // to be saved, plus one; guarded by mu
	saved uint32
}

type activation struct {
	announcement *wire.Announcement
	version      uint64
	watermark    uint64
	pending      bool         // its reload is still to be done
	swapped      chan<- error // who waits for the swap alone; nil: it ends with it
	done         func(reason string, latencyMicros int64)
}

func newApplier(a *Agent) *applier { return &applier{agent: a, wake: make(chan struct{}, 1)} }

func (p *applier) add(act activation) {
	p.mu.Lock()
	p.queue = append(p.queue, act)
	p.mu.Unlock()
	p.signal()
}

// saveIndex remembers the agent index, some time soon.
func (p *applier) saveIndex(index uint32) {
	p.mu.Lock()
	p.index = index
	p.mu.Unlock()
	p.signal()
}

func (p *applier) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *applier) run(ctx context.Context) {
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		batch, index := p.queue, p.index
		p.queue = nil
		p.mu.Unlock()
		if len(batch) > 0 {
			p.apply(batch)
		}
		if index != p.saved {
			if err := p.agent.state.saveIndex(index); err != nil {
				p.agent.log.Warn("agent index not saved", "error", err)
			}
			p.saved = index
		}
	}
}

func (p *applier) apply(batch []activation) {
	now := time.Now()
	rows := make([]committed, len(batch))
	for i, act := range batch {
		rows[i] = committed{Raw: act.announcement.Raw, Revision: act.announcement.Revision, Version: act.version,
			AtMicros: now.UnixMicro(), Watermark: act.watermark, Pending: act.pending, pointer: act.announcement.Pointer}
	}
	err := p.agent.state.commit(rows)
	for i, act := range batch {
		failure := err
		if failure == nil {
			failure = p.show(rows[i])
		}
		if act.swapped != nil {
			act.swapped <- failure
		} else {
			p.finish(act, failure)
		}
	}
}

// swap commits and shows an activation with others that wait, and returns how that went.
func (p *applier) swap(act activation) error {
	swapped := make(chan error, 1)
	act.swapped = swapped
	p.add(act)
	select {
	case err := <-swapped:
		return err
	case <-p.agent.ctx.Done():
		return context.Cause(p.agent.ctx)
	}
}

// show lets readers see what was committed; nothing, if the host does not subscribe.
func (p *applier) show(c committed) error {
	a := p.agent
	if !a.subscribes(c.pointer.Config) {
		return nil
	}
	v := record.VersionKey{Config: c.pointer.Config, Version: c.Version}
	applied := Applied{Config: v.Config, Region: c.pointer.Region, Epoch: c.pointer.Epoch, Version: c.Version, Pending: c.Pending, AppliedAt: time.UnixMicro(c.AtMicros)}
	if c.Version == 0 {
		if err := a.tree.hide(v.Config); err != nil {
			return err
		}
	} else {
		if err := a.tree.show(v); err != nil {
			return fmt.Errorf("show %s version %d: %w", v.Config, v.Version, err)
		}
		a.describe(&applied, v)
	}
	a.remember(applied)
	return nil
}

func (p *applier) finish(act activation, err error) {
	a, pointer := p.agent, act.announcement.Pointer
	latency := time.Now().UnixMicro() - pointer.TimeMicros
	if err != nil {
		a.metrics.failed("apply")
		a.log.Error("not applied", "config", pointer.Config, "epoch", pointer.Epoch, "version", act.version, "error", err)
		a.emit(Event{Kind: EventFailed, Pointer: pointer, Version: act.version, Reason: err.Error()})
		act.done(err.Error(), latency)
		return
	}
	if !a.subscribes(pointer.Config) {
		a.log.Debug("passed on", "config", pointer.Config, "epoch", pointer.Epoch)
		act.done("", latency)
		return
	}
	a.metrics.applied.Inc()
	a.metrics.propagation.Update(float64(max(latency, 0)) / 1e6)
	a.log.Info("applied", "config", pointer.Config, "epoch", pointer.Epoch, "version", act.version, "latency_us", latency)
	a.emit(Event{Kind: EventApplied, Pointer: pointer, Version: act.version})
	act.done("", latency)
	a.prune(pointer.Config)
}

// prune removes versions beyond those kept, and tells the node.
func (a *Agent) prune(config string) {
	removed, err := a.tree.prune(config, a.cfg.Keep, a.isNamed)
	if err != nil {
		a.log.Warn("old versions not removed", "config", config, "error", err)
	}
	a.forget(removed)
}

// forget tells who serves them of versions that were removed.
func (a *Agent) forget(removed []record.VersionKey) {
	for _, v := range removed {
		a.Abandon(v)
		a.driver.Evicted(v)
	}
}
