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
// on disk. The node fetches a damaged version again.
func (a *Agent) recover(advertise string) error {
	remembered, err := a.state.load()
	if err != nil {
		return err
	}
	a.node = mesh.NewNode(mesh.Config{
		Self: a.cfg.Identity.Identity.Mesh(),
		Description: wire.Description{
			Addr:          advertise,
			Relay:         !a.cfg.Leaf,
			Capacity:      uint32(a.cfg.MaxChildren),
			Labels:        a.cfg.Labels,
			Subscriptions: a.cfg.Subscriptions,
		},
		CacheLimit: a.cfg.CacheLimit,
		Seeds:      tree.Rendezvous(a.Name(), a.cfg.Coordinators),
		Verifier:   a.cfg.Identity.Policy,
		Index:      remembered.index,
		Seed:       rand.Uint64(),
	})
	if err := a.shards.Prune(partialAge); err != nil {
		return err
	}
	if err := a.output.clean(); err != nil {
		return err
	}
	watermark := remembered.watermark
	damaged := map[record.VersionKey]bool{}
	for _, c := range remembered.rows {
		if ok := a.restore(c); !ok {
			damaged[c.key()] = true
			watermark = min(watermark, c.Revision-1)
		}
	}
	if err := a.restoreVersions(damaged); err != nil {
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
			a.log.Error("committed version is damaged and will be fetched again",
				"config", c.pointer.Config, "version", c.Version, "error", err)
			input.Pointer.Version = 0
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

// restoreFiles shows a committed version if it is complete on disk.
func (a *Agent) restoreFiles(c committed) error {
	dir := a.output.config(c.pointer.Config)
	if c.Version == 0 {
		a.applied.put(c.describe(a.output))
		return dir.hide()
	}
	version := a.output.version(c.key())
	if err := version.check(); err != nil {
		return err
	}
	if err := dir.show(version); err != nil {
		return err
	}
	a.applied.put(c.describe(a.output))
	return nil
}

// restoreVersions tells the node which undamaged versions are on disk. It deletes the
// versions of configs that the host no longer subscribes to, and the files of these configs:
// a file without updates is worse than no file.
func (a *Agent) restoreVersions(damaged map[record.VersionKey]bool) error {
	versions, err := a.output.all()
	if err != nil {
		return err
	}
	for _, v := range versions {
		switch {
		case !a.cfg.Subscriptions.Include(v.key.Config):
			a.log.Warn("no longer subscribed: version deleted",
				"config", v.key.Config, "version", v.key.Version)
			if err := a.output.config(v.key.Config).hide(); err != nil {
				return err
			}
			if err := a.output.removeWithParents(v.key); err != nil {
				return err
			}
		case !damaged[v.key]:
			forms := a.output.version(v.key).formsOnDisk()
			a.node.Step(0, step.Input{Kind: step.InHold, Body: step.Body{Version: v.key, Forms: forms}}, nil)
		}
	}
	return nil
}
