package agent

import (
	"math/rand/v2"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// recover makes the node, shows the committed versions, and tells the node which versions are
// on disk. A damaged version is rebuilt or fetched again when the node has it applied.
func (a *Agent) recover(advertise string) error {
	remembered, err := a.state.load()
	if err != nil {
		return err
	}
	a.node = mesh.NewNode(mesh.Config{
		Self: a.cfg.Identity.Identity.Mesh(),
		Description: wire.Description{
			Instance:      rand.Uint64(),
			Addr:          advertise,
			Relay:         !a.cfg.Leaf,
			Capacity:      uint32(a.cfg.MaxChildren),
			Labels:        a.cfg.Labels,
			Subscriptions: a.cfg.Subscriptions,
		},
		CacheLimit: a.cfg.CacheLimit,
		Seeds:      tree.Rendezvous(a.Name(), a.cfg.Coordinators),
		Verifier:   a.cfg.Identity.Policy,
		Seed:       rand.Uint64(),
	})
	if err := a.shards.Prune(partialAge); err != nil {
		return err
	}
	if err := a.output.clean(); err != nil {
		return err
	}
	watermark := remembered.watermark
	for _, c := range remembered.rows {
		if ok := a.restore(c); !ok {
			watermark = min(watermark, c.Revision-1)
		}
	}
	if err := a.restoreVersions(); err != nil {
		return err
	}
	a.node.Step(0, step.Input{Kind: step.InResume, Revision: watermark}, nil)
	return nil
}

// restore shows a committed version and gives the node the pointer. It reports whether the
// version is undamaged.
func (a *Agent) restore(c committed) bool {
	a.applied.setNamed(&c.pointer)
	input := step.Input{
		Kind:    step.InRestore,
		Pointer: step.Pointer{Announcement: c.announcement(), Version: c.Version},
	}
	if a.cfg.Subscriptions.Include(c.pointer.Config) {
		if err := a.restoreFiles(c); err != nil {
			a.log.Error("committed version is damaged and will be rebuilt or fetched again",
				"config", c.pointer.Config, "version", c.Version.Version, "error", err)
			input.Pointer.Version = record.Ref{}
			input.Pointer.Unapplied = true
			a.node.Step(0, input, nil)
			return false
		}
		// The node activates a version again whose reload a crash has cut short.
		input.Pointer.Unapplied = c.Pending
	}
	a.node.Step(0, input, nil)
	return true
}

// restoreFiles shows a committed version if it is undamaged on disk.
func (a *Agent) restoreFiles(c committed) error {
	drift := a.output.config(c.pointer.Config).foreign()
	if err := a.applied.swap(func() (Applied, error) { return a.output.show(c) }); err != nil {
		return err
	}
	if drift != nil {
		a.metrics.drift.Inc()
		a.log.Warn("drift is repaired", "config", c.pointer.Config, "version", c.Version, "error", drift)
		a.node.Step(0, step.Input{
			Kind:  step.InDrift,
			Body:  step.Body{Version: c.key()},
			Drift: wire.DriftRepaired,
		}, nil)
	}
	return nil
}

// restoreVersions tells the node which versions are on disk. It deletes the
// versions of configs that the host no longer subscribes to, and the files of these configs:
// a file without updates is worse than no file.
func (a *Agent) restoreVersions() error {
	versions, err := a.output.all()
	if err != nil {
		return err
	}
	for _, v := range versions {
		if a.cfg.Subscriptions.Include(v.key.Config) {
			a.restoreVersion(a.output.version(v.key))
			continue
		}
		a.log.Warn("no longer subscribed: version deleted",
			"config", v.key.Config, "version", v.key.Version)
		if err := a.output.config(v.key.Config).hide(); err != nil {
			return err
		}
		if err := a.output.removeWithParents(v.key); err != nil {
			return err
		}
	}
	return nil
}

// restoreVersion tells the node that a version is on disk, if its description is undamaged. The
// body is verified before it is shown or served.
func (a *Agent) restoreVersion(dir versionDir) {
	m, _, err := dir.manifest()
	if err != nil {
		a.log.Warn("version on disk is damaged", "config", dir.key.Config, "version", dir.key.Version, "error", err)
		return
	}
	body := step.Body{Version: dir.key, Forms: dir.forms(m)}
	a.node.Step(0, step.Input{Kind: step.InHold, Body: body}, nil)
}
