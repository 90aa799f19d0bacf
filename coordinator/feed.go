package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/versionstore"
)

// feed passes every pointer in a leader's store, old and new, to the node.
type feed struct {
	store     versionstore.Store
	library   *library
	driver    *transport.Driver
	tracker   *tracker
	news      *news
	deletions *deletions
	policy    *record.Policy
	pushLimit int64
	// alone reports whether no agent and no coordinator is attached.
	alone func() bool
	log   *slog.Logger

	// loaded is set when the node has every pointer that the store had at the start. A head before
	// that would vouch for less than hosts have, and hosts would think that pointers are missing.
	loaded *atomic.Bool

	// pushed is the newest version that was pushed behind a pointer.
	pushed map[record.PointerKey]uint64
}

// run watches the store until ctx ends.
func (f *feed) run(ctx context.Context) error {
	last, err := f.newest(ctx)
	if err != nil {
		return err
	}
	f.loaded.Store(last == 0)
	err = f.store.Watch(ctx, 0, func(events []versionstore.Event) error {
		f.publish(ctx, events, last)
		if events[0].Revision >= last {
			f.loaded.Store(true)
		}
		return ctx.Err()
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch the store: %w", err)
}

// publish gives the node the pointers of one transaction, with nothing in between: a head that names
// a revision vouches for all pointers of the revision. last is the newest revision at the start.
func (f *feed) publish(ctx context.Context, events []versionstore.Event, last uint64) {
	var inputs []step.Input
	for _, e := range events {
		if e.Damaged != nil {
			f.log.Error("a pointer or a version in the store is damaged and is left out: hosts keep what they run;"+
				" publish the config again, or restore a backup", "error", e.Damaged)
		}
		if e.Pointer == nil {
			continue
		}
		p := e.Pointer.Pointer
		f.tracker.moved(p)
		f.news.ofPointer(p.Key())
		if f.deletions.ledger.Forgotten(&p) {
			continue
		}
		a := wire.NewAnnouncement(e.Revision, e.Pointer.Raw, p)
		pointer := step.Pointer{Announcement: a, Push: f.pushFor(ctx, p)}
		pointer.Batchable = e.Revision > last && f.isGenuine(a)
		inputs = append(inputs, step.Input{Kind: step.InPublish, Pointer: pointer})
	}
	if len(inputs) > 0 {
		f.driver.Decide(ctx, func(*mesh.Node) []step.Input { return inputs })
	}
}

// isGenuine reports whether an activation key has signed the pointer of an announcement. The leader must not
// sign a pointer that somebody without a key has written to the store.
func (f *feed) isGenuine(a *wire.Announcement) bool {
	p, err := f.policy.VerifyPointer(a.Raw)
	return err == nil && p.Digest() == a.Digest
}

// newest returns the revision of the newest pointer in the store that can be read; 0 if there is none.
func (f *feed) newest(ctx context.Context) (uint64, error) {
	pointers, err := versionstore.AllPointers(ctx, f.store, "")
	if err != nil && !errors.Is(err, versionstore.ErrCorrupt) {
		return 0, fmt.Errorf("read the pointers: %w", err)
	}
	if len(pointers) == 0 {
		return 0, nil
	}
	return pointers[len(pointers)-1].Revision, nil
}

// pushFor returns the version to push behind a pointer: the newest version that the
// pointer names, if the body is small and was not pushed in the region before. It returns
// nil for an older version, because almost every host has the version already, and while
// no agent is attached: after a start, Watch reports every pointer in the store.
func (f *feed) pushFor(ctx context.Context, p record.Pointer) *wire.Push {
	key := p.Key()
	version := max(p.Baseline.Version, p.Candidate.Version)
	if version <= f.pushed[key] {
		return nil
	}
	f.pushed[key] = version
	if f.alone() {
		return nil
	}
	push, err := f.load(ctx, p.Config, version)
	if err != nil {
		f.log.Warn("version not pushed; agents will fetch it", "config", p.Config, "version", version, "error", err)
		return nil
	}
	return push
}

// load returns a version with its body, or nil if the body is larger than pushLimit.
func (f *feed) load(ctx context.Context, config string, version uint64) (*wire.Push, error) {
	v, err := f.store.Version(ctx, config, version)
	if err != nil {
		return nil, err
	}
	if v.Manifest.BodySize > f.pushLimit {
		return nil, nil
	}
	r, err := f.library.OpenBody(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, v.Manifest.BodySize))
	return &wire.Push{
		Config:   config,
		Version:  version,
		Digest:   v.Manifest.Digest(),
		Manifest: v.Raw,
		Body:     body,
	}, err
}
