package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Drift: a file that is not what was applied, because another hand changed it. The agent
// looks at every file it shows from time to time, tells the coordinators, and, where a rule
// says so, has the version fetched and applied anew.

// DefaultDriftInterval is the time between two looks at each file.
const DefaultDriftInterval = time.Minute

// watchDrift looks for drift until ctx ends.
func (a *Agent) watchDrift(ctx context.Context) {
	if a.cfg.DriftInterval < 0 {
		return
	}
	w := &driftWatch{agent: a, good: map[string]fingerprint{}, drifted: map[string]bool{}}
	ticker := time.NewTicker(a.cfg.DriftInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			all, _ := a.snapshot()
			for _, applied := range all {
				if ctx.Err() == nil {
					w.look(ctx, applied)
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// driftWatch remembers which files were found good, and which not.
type driftWatch struct {
	agent   *Agent
	good    map[string]fingerprint // by config
	drifted map[string]bool
}

// fingerprint is what a file looks like from outside: as long as it stays, the content is
// not read again.
type fingerprint struct {
	version  uint64
	size     int64
	modified time.Time
	changed  syscall.Timespec
	inode    uint64
}

// look holds what shows of a config against what was applied.
func (w *driftWatch) look(ctx context.Context, applied Applied) {
	a := w.agent
	if applied.Version == 0 {
		return
	}
	why := w.differs(applied)
	if now, ok := a.Applied(applied.Config); !ok || now.Epoch != applied.Epoch || a.hooks.busy(applied.Config) {
		return // it was swapped meanwhile
	}
	v := record.VersionKey{Config: applied.Config, Version: applied.Version}
	switch {
	case why == nil && w.drifted[applied.Config]:
		delete(w.drifted, applied.Config)
		a.log.Info("drift is gone", "config", v.Config, "version", v.Version)
		w.tell(ctx, v, wire.DriftGone)
	case why == nil:
	case a.cfg.Hooks.repairs(applied.Config):
		a.metrics.drift.Inc()
		a.log.Warn("drift, is repaired", "config", v.Config, "version", v.Version, "error", why)
		w.tell(ctx, v, wire.DriftRepaired)
		w.repair(ctx, v)
	default:
		if !w.drifted[applied.Config] {
			a.metrics.drift.Inc()
			a.log.Warn("drift", "config", v.Config, "version", v.Version, "error", why)
		}
		w.drifted[applied.Config] = true
		w.tell(ctx, v, wire.DriftSeen)
	}
	a.setDrifted(applied.Config, why)
}

func (w *driftWatch) tell(ctx context.Context, v record.VersionKey, state wire.DriftState) {
	w.agent.driver.Input(ctx, step.Input{Kind: step.InDrift, Want: v, Drift: state})
}

// differs says how what shows differs from what was applied; nil if it does not.
func (w *driftWatch) differs(applied Applied) error {
	t := w.agent.tree
	v := record.VersionKey{Config: applied.Config, Version: applied.Version}
	if err := t.showsOnly(v); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(t.versionPath(v), valueFile))
	if err != nil {
		return err
	}
	print := fingerprintOf(applied.Version, info)
	if w.good[applied.Config] == print {
		return nil
	}
	if err := t.check(v); err != nil {
		return err
	}
	w.good[applied.Config] = print
	return nil
}

func fingerprintOf(version uint64, info fs.FileInfo) fingerprint {
	f := fingerprint{version: version, size: info.Size(), modified: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		f.changed, f.inode = s.Ctim, s.Ino
	}
	return f
}

// repair has the version applied anew: if only its links were changed, from disk, else
// fetched again. What shows now goes on showing until then.
func (w *driftWatch) repair(ctx context.Context, v record.VersionKey) {
	a := w.agent
	delete(w.good, v.Config)
	if err := a.tree.relink(v); err != nil {
		a.log.Error("drift not repaired", "config", v.Config, "error", err)
		return
	}
	a.hooks.again(v.Config)
	if a.tree.check(v) == nil {
		a.driver.Input(ctx, step.Input{Kind: step.InDamaged, Want: v, Local: true})
		return
	}
	a.Abandon(v)
	a.driver.Input(ctx, step.Input{Kind: step.InDamaged, Want: v})
}

// repairs tells whether a config's rule is to repair drift.
func (h *Hooks) repairs(config string) bool {
	r := h.rule(config)
	return r != nil && r.Drift == DriftRepair
}

// again has a config's hooks run although the version that shows is the same.
func (h *hooked) again(config string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.redo[config] = true
}

func (h *hooked) busy(config string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running[config] != nil
}

// errLinks is wrapped when the names that programs open lead elsewhere.
var errLinks = errors.New("not the link that was made")

// showsOnly checks that the names that programs open lead to a version.
func (t *tree) showsOnly(v record.VersionKey) error {
	dir := t.dir(v.Config)
	want := map[string]string{dataLink: filepath.Base(t.versionPath(v)), valueFile: filepath.Join(dataLink, valueFile), metaFile: filepath.Join(dataLink, metaFile)}
	for name, target := range want {
		if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != target {
			return fmt.Errorf("%s: %w", filepath.Join(dir, name), errLinks)
		}
	}
	return nil
}

// relink makes the names that programs open lead to a version, whatever stands there.
func (t *tree) relink(v record.VersionKey) error {
	dir := t.dir(v.Config)
	for _, name := range []string{valueFile, metaFile} {
		target := filepath.Join(dataLink, name)
		if got, err := os.Readlink(filepath.Join(dir, name)); err == nil && got == target {
			continue
		}
		next := filepath.Join(dir, stagingDir+name)
		os.Remove(next)
		if err := os.Symlink(target, next); err != nil {
			return err
		}
		if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return t.show(v)
}
