package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"banyan/internal/episode"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// errDamaged is wrapped if a version to be shown is missing or was altered.
var errDamaged = errors.New("version on disk is missing or altered")

// applier applies activations in batches: a durable commit for all waiting activations,
// then the links of each. The queue has at most one activation of a config, because the node
// asks for the next activation only after the last activation is done.
type applier struct {
	state     *state
	output    *outputDir
	applied   *appliedSet
	retention *retention
	reports   *driftReports
	metrics   *agentMetrics
	log       *slog.Logger
	emit      func(Event)
	rebuild   func(record.VersionKey) error // restores a version from its forms on disk
	lost      func(record.VersionKey)       // makes the node fetch a version again

	wake    chan struct{} // capacity 1
	stopped chan struct{} // closed when run has returned

	failing episode.Set[string] // configs that are not applied, for the log

	mu    sync.Mutex
	queue []activation // guarded by mu
}

// activation is a pointer to be applied.
type activation struct {
	announcement *wire.Announcement
	version      record.Ref // zero: the pointer gives this host no version
	watermark    uint64     // of the node, at the time of the request
	pending      bool       // the reload hook is still to be run
	// committed receives the outcome of the commit and the swap, if a hook follows. A nil
	// committed means that the activation is finished after the swap.
	committed chan<- error
	done      func(why step.Failure, latencyMicros int64)
}

func (a *activation) config() string { return a.announcement.Pointer.Config }

// key names the version to be activated.
func (a *activation) key() record.VersionKey {
	return a.version.Of(a.config())
}

// add queues an activation.
func (p *applier) add(act activation) {
	p.mu.Lock()
	p.queue = append(p.queue, act)
	p.mu.Unlock()
	p.signal()
}

func (p *applier) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run applies the queued activations until ctx ends.
func (p *applier) run(ctx context.Context) {
	defer close(p.stopped)
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		batch := p.queue
		p.queue = nil
		p.mu.Unlock()
		for part := range slices.Chunk(p.verified(batch), maxCommit) {
			p.apply(ctx, part)
		}
	}
}

// verified returns the activations of batch whose versions are undamaged. It ends the others.
func (p *applier) verified(batch []activation) []activation {
	return slices.DeleteFunc(batch, func(act activation) bool {
		err := p.verify(act)
		if err != nil {
			p.end(act, err)
		}
		return err != nil
	})
}

// verify verifies the version of an activation. A version that is missing or altered is rebuilt
// from its forms on disk; else the node has to fetch the version again.
func (p *applier) verify(act activation) error {
	v := act.key()
	if v.Version == 0 {
		return nil
	}
	dir := p.output.version(v)
	_, _, err := dir.verify()
	if err == nil {
		return nil
	}
	rebuildErr := p.rebuild(v)
	if rebuildErr == nil {
		_, _, rebuildErr = dir.verify()
	}
	if rebuildErr == nil {
		p.log.Warn("version was damaged, and is rebuilt from a form on disk",
			"config", v.Config, "version", v.Version, "error", err)
		return nil
	}
	p.lost(v)
	return fmt.Errorf("%w, and is fetched again: %w", errDamaged, err)
}

// apply commits a batch and shows its versions.
func (p *applier) apply(ctx context.Context, batch []activation) {
	now := time.Now().UnixMicro()
	rows := make([]committed, len(batch))
	for i, act := range batch {
		rows[i] = committed{
			Raw:       act.announcement.Raw,
			Revision:  act.announcement.Revision,
			Version:   act.version,
			AtMicros:  now,
			Watermark: act.watermark,
			Pending:   act.pending,
			pointer:   act.announcement.Pointer,
		}
	}
	commitErr := p.state.commit(rows)
	for i, act := range batch {
		err := commitErr
		if err == nil {
			err = p.show(ctx, rows[i])
		}
		p.end(act, err)
	}
}

// end reports the outcome of the commit and the swap.
func (p *applier) end(act activation, err error) {
	if act.committed != nil {
		act.committed <- err
	} else {
		p.finish(act, err)
	}
}

// swap queues an activation and waits until its version is committed and shown.
func (p *applier) swap(act activation) error {
	committed := make(chan error, 1)
	act.committed = committed
	p.add(act)
	select {
	case err := <-committed:
		return err
	case <-p.stopped:
		return context.Canceled
	}
}

// show makes readers see a committed version, and reports drift that it overwrites.
func (p *applier) show(ctx context.Context, c committed) error {
	v := c.key()
	before, _ := p.applied.get(v.Config)
	drift := p.driftOf(before)
	if err := p.applied.swap(func() (Applied, error) { return p.output.show(c) }); err != nil {
		return fmt.Errorf("show %s version %d: %w", v.Config, v.Version, err)
	}
	p.reports.repaired(ctx, before.Key(), drift)
	return nil
}

// driftOf returns how the files of a config differ from the applied version.
func (p *applier) driftOf(applied Applied) error {
	v := applied.Key()
	if v.Version == 0 {
		return nil
	}
	return p.output.compare(v)
}

// finish reports the outcome of an activation to the node, and deletes old versions.
func (p *applier) finish(act activation, err error) {
	pointer := act.announcement.Pointer
	latency := time.Now().UnixMicro() - pointer.TimeMicros
	log := p.log.With("config", pointer.Config, "epoch", pointer.Epoch, "version", act.version.Version)
	switch {
	case err != nil:
		p.metrics.failed("apply")
		level := p.failing.Level(pointer.Config, slog.LevelError)
		log.Log(context.Background(), level, "not applied", "error", err)
		p.emit(Event{Kind: EventFailed, Pointer: pointer, Version: act.version.Version, Reason: err.Error()})
		act.done(failureOf(err), latency)
	default:
		p.failing.End(pointer.Config)
		p.metrics.applied.Inc()
		p.metrics.propagation.Update(float64(max(latency, 0)) / 1e6)
		log.Info("applied", "latency_us", latency)
		p.emit(Event{Kind: EventApplied, Pointer: pointer, Version: act.version.Version})
		act.done(step.Failure{}, latency)
		if pointer.Deleted() {
			p.retention.clear(pointer.Config)
		} else {
			p.retention.prune(pointer.Config)
		}
	}
}

// failureOf returns the failure of an activation. Only a failed hook says something about the
// version.
func failureOf(err error) step.Failure {
	why := step.Failure{Reason: err.Error(), Fault: step.FaultHost}
	if errors.As(err, new(*hookError)) {
		why.Fault = step.FaultVersion
	}
	return why
}
