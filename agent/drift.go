package agent

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
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
	metrics  *agentMetrics
	log      *slog.Logger
	tell     func(context.Context, step.Input) // gives the node an input
	abandon  func(record.VersionKey)           // deletes the shards of a version

	good    map[string]fingerprint // of unchanged files, by config
	drifted map[string]bool        // by config
}

// fingerprint identifies the content of a file without reading the content. As long as the
// fingerprint stays, the file is not hashed again.
type fingerprint struct {
	version  uint64
	size     int64
	modified time.Time
	changed  syscall.Timespec
	inode    uint64
}

func fingerprintOf(version uint64, info fs.FileInfo) fingerprint {
	f := fingerprint{version: version, size: info.Size(), modified: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		f.changed = s.Ctim
		f.inode = s.Ino
	}
	return f
}

// run looks at every config once in each interval, until ctx ends.
func (w *driftWatch) run(ctx context.Context) {
	if w.interval < 0 {
		return
	}
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.lookAtAll(ctx)
		case <-ctx.Done():
			return
		}
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
	v := record.VersionKey{Config: applied.Config, Version: applied.Version}
	drift := w.compare(v)
	now, ok := w.applied.get(applied.Config)
	if !ok || now.Epoch != applied.Epoch || w.hooks.busy(applied.Config) {
		return // another version was shown meanwhile
	}
	log := w.log.With("config", v.Config, "version", v.Version)
	switch {
	case drift == nil && w.drifted[applied.Config]:
		delete(w.drifted, applied.Config)
		log.Info("drift is gone")
		w.report(ctx, v, wire.DriftGone)
	case drift == nil:
	case w.hooks.rules.repairs(applied.Config):
		w.metrics.drift.Inc()
		log.Warn("drift is being repaired", "error", drift)
		w.report(ctx, v, wire.DriftRepaired)
		w.repair(ctx, v)
	default:
		if !w.drifted[applied.Config] {
			w.metrics.drift.Inc()
			log.Warn("drift", "error", drift)
		}
		w.drifted[applied.Config] = true
		w.report(ctx, v, wire.DriftSeen)
	}
	w.applied.setDrift(applied.Config, drift)
}

// report sends the state of a config's drift to the coordinator.
func (w *driftWatch) report(ctx context.Context, v record.VersionKey, drift wire.DriftState) {
	w.tell(ctx, step.Input{Kind: step.InDrift, Body: step.Body{Version: v}, Drift: drift})
}

// compare returns how the files of a config differ from v; nil if they do not.
func (w *driftWatch) compare(v record.VersionKey) error {
	dir := w.output.version(v)
	if err := w.output.config(v.Config).checkLinks(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir.value())
	if err != nil {
		return err
	}
	now := fingerprintOf(v.Version, info)
	if w.good[v.Config] == now {
		return nil
	}
	if err := dir.check(); err != nil {
		return err
	}
	w.good[v.Config] = now
	return nil
}

// repair restores the links of v and has the node apply v again. If the body on disk is
// damaged, the node fetches the body first; readers see the damaged file until then.
func (w *driftWatch) repair(ctx context.Context, v record.VersionKey) {
	delete(w.good, v.Config)
	dir := w.output.version(v)
	if err := w.output.config(v.Config).relink(dir); err != nil {
		w.log.Error("drift not repaired", "config", v.Config, "error", err)
		return
	}
	w.hooks.repeat(v.Config)
	if dir.check() == nil {
		w.tell(ctx, step.Input{Kind: step.InReapply, Body: step.Body{Version: v}})
		return
	}
	w.abandon(v)
	w.tell(ctx, step.Input{Kind: step.InRefetch, Body: step.Body{Version: v}})
}
