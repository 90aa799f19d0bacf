package coordinator

import (
	"context"
	"fmt"
	"io"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/versionstore"
)

// feed passes every pointer in the store, old and new, to the node.
func (c *Coordinator) feed(ctx context.Context) error {
	pushed := map[record.PointerKey]uint64{}
	err := c.store.Watch(ctx, 0, func(e versionstore.Event) error {
		if e.Pointer == nil {
			return nil
		}
		c.tracker.moved(e.Pointer.Pointer)
		a := &wire.Announcement{Revision: e.Revision, Raw: e.Pointer.Raw, Pointer: e.Pointer.Pointer}
		c.driver.Input(ctx, step.Input{Kind: step.InPublish, Announcement: a, Push: c.pushFor(ctx, a.Pointer, pushed)})
		return ctx.Err()
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch the store: %w", err)
}

// pushFor returns the version that a pointer names for the first time, if it is
// small; pushed holds the newest named so far. Older ones are on the hosts, but
// for a few, which fetch them.
func (c *Coordinator) pushFor(ctx context.Context, p record.Pointer, pushed map[record.PointerKey]uint64) *wire.Push {
	key := p.Key()
	version := max(p.Baseline, p.Candidate)
	if version <= pushed[key] {
		return nil
	}
	pushed[key] = version
	if c.children.Load() == 0 && c.agents.Load() == 0 {
		return nil // at the start the watch tells of all there is
	}
	push, err := c.loadPush(ctx, p.Config, version)
	if err != nil {
		c.log.Warn("version not pushed; agents will fetch it", "config", p.Config, "version", version, "error", err)
		return nil
	}
	return push
}

func (c *Coordinator) loadPush(ctx context.Context, config string, version uint64) (*wire.Push, error) {
	v, err := c.store.Version(ctx, config, version)
	if err != nil {
		return nil, err
	}
	if v.Manifest.BodySize > c.cfg.PushLimit {
		return nil, nil
	}
	r, err := c.library.OpenBody(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, v.Manifest.BodySize))
	return &wire.Push{Config: config, Version: version, Manifest: v.Raw, Body: body}, err
}
