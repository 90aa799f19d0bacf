package agent

import (
	"context"
	"time"

	"banyan/internal/ticks"
	"banyan/mesh/step"
	"banyan/record"
)

// driftWatch looks for drift: a file differs from the applied version, because a person or
// a program has changed the file. The coordinator gets a report. Where a rule says "repair",
// the version is applied again.
type driftWatch struct {
	interval time.Duration // negative: do not watch
	output   *outputDir
	applied  *appliedSet
	hooks    *hookRunner
	reports  *driftReports
	tell     func(context.Context, step.Input) // gives the node an input
	lost     func(record.VersionKey)           // makes the node fetch a version again
}

// run looks at every config once in each interval, until ctx ends.
func (w *driftWatch) run(ctx context.Context) {
	if w.interval < 0 {
		return
	}
	for range ticks.Every(ctx, w.interval) {
		w.lookAtAll(ctx)
	}
}

func (w *driftWatch) lookAtAll(ctx context.Context) {
	all, _ := w.applied.all()
	for _, applied := range all {
		if ctx.Err() == nil && applied.Version != 0 {
			w.look(ctx, applied)
		}
	}
}

// look compares the files of a config with the applied version, and acts on a difference.
func (w *driftWatch) look(ctx context.Context, applied Applied) {
	v := applied.Key()
	drift := w.output.compare(v)
	now, ok := w.applied.get(applied.Config)
	if !ok || now.Position != applied.Position || w.hooks.busy(applied.Config) {
		return // another version was shown meanwhile
	}
	if drift == nil {
		w.reports.right(ctx, v)
		return
	}
	w.reports.seen(ctx, v, drift)
	if w.hooks.rules.repairs(applied.Config) {
		w.repair(ctx, v)
	}
}

// repair has the node apply v again, which puts the links in place and reports the repair. If the
// body on disk is damaged, the node fetches the body first; readers see the damaged file until
// then.
func (w *driftWatch) repair(ctx context.Context, v record.VersionKey) {
	w.hooks.repeat(v.Config)
	w.reports.repairing(v.Config)
	if _, _, err := w.output.version(v).verify(); err != nil {
		w.lost(v)
	}
	w.tell(ctx, step.Input{Kind: step.InReapply, Body: step.Body{Version: v}})
}
