package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// collector removes from the store of this coordinator what nothing names any more: old versions, all
// versions of configs that were deleted long ago, and bodies that no version names.
type collector struct {
	ledger *ledger.Ledger
	store  versionstore.Store
	blobs  *versionstore.FileBlobs
	policy *record.Policy
	leads  bool
	log    *slog.Logger

	running sync.Mutex // held while a collection runs
}

// collection is one run of the collector.
type collection struct {
	*collector
	in     api.Collect
	by     string
	before time.Time              // versions that were stored later stay
	used   map[record.Digest]bool // bodies of the versions that stay
	out    api.Collected
}

// post handles a request to collect.
func (c *collector) post(r *http.Request, caller identity.Identity) (any, error) {
	var in api.Collect
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if in.Keep < 0 || in.OlderThan < 0 {
		return nil, fmt.Errorf("%w: keep and older_than can't be negative", errRequest)
	}
	if !c.running.TryLock() {
		return nil, &api.Error{Code: api.CodeConflict, Message: "a collection is running on this coordinator"}
	}
	defer c.running.Unlock()
	in.Keep = cmp.Or(in.Keep, api.DefaultKeep)
	age := cmp.Or(time.Duration(in.OlderThan), api.DefaultCollectAge)
	run := &collection{
		collector: c,
		in:        in,
		by:        caller.Name,
		before:    time.Now().Add(-age),
		used:      map[record.Digest]bool{},
		out:       api.Collected{DryRun: in.DryRun, Configs: []api.CollectedConfig{}},
	}
	if err := run.run(r.Context()); err != nil {
		return nil, err
	}
	return run.out, nil
}

func (c *collection) run(ctx context.Context) error {
	names, err := versionstore.AllConfigs(ctx, c.ledger)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.collectConfig(ctx, name); err != nil {
			return fmt.Errorf("collect %s: %w", name, err)
		}
	}
	if err := c.collectBodies(ctx); err != nil {
		return err
	}
	return c.note(ctx)
}

// collectConfig removes old versions of a config, and notes the bodies of the others.
func (c *collection) collectConfig(ctx context.Context, config string) error {
	history, err := versionstore.AllVersions(ctx, c.ledger, config)
	if err != nil {
		return err
	}
	var removed []uint64
	for more := true; more; {
		var batch []uint64
		batch, more, err = c.removeSome(ctx, config, history)
		if errors.Is(err, versionstore.ErrInUse) { // by a region that has left the policy
			c.log.Warn("versions are left alone", "config", config, "error", err)
			break
		}
		if err != nil {
			return err
		}
		removed = append(removed, batch...)
		history = slices.DeleteFunc(history, func(v versionstore.Version) bool {
			return slices.Contains(batch, v.Manifest.Version)
		})
	}
	for _, v := range history {
		for _, f := range v.Manifest.Forms {
			c.used[f.SHA256] = true
		}
	}
	if len(removed) > 0 {
		c.out.Add(api.CollectedConfig{Config: config, Versions: removed, Freed: len(history) == 0})
	}
	return nil
}

// removeSome removes the oldest versions of a config that nothing needs. The decision is part of the
// update, so that no pointer moves in between. more reports whether there may be further ones.
func (c *collection) removeSome(
	ctx context.Context, config string, history []versionstore.Version,
) (removed []uint64, more bool, err error) {
	err = c.update(func(commit func(ledger.Changes) error) error {
		needs, err := c.needsOf(ctx, config)
		if err != nil {
			return err
		}
		old := collectable(history, needs, c.in.Keep, c.before)
		removed = old[:min(len(old), versionstore.MaxRemoved)]
		more = len(old) > len(removed)
		if c.in.DryRun || len(removed) == 0 {
			return nil
		}
		changes := ledger.Changes{Removals: []versionstore.Removal{{Config: config, Versions: removed}}}
		if len(removed) == len(history) {
			changes.Documents, err = c.ledger.ForgetActivations(ctx, config, c.policy.Regions())
			if err != nil {
				return err
			}
		}
		return commit(changes)
	})
	return removed, more, err
}

// update calls fn with a function that commits changes. A leader's update excludes all other writes
// of the ledger. The store of a follower has no other writer of versions than the leader's feed.
func (c *collection) update(fn func(commit func(ledger.Changes) error) error) error {
	ctx := context.Background()
	if c.leads {
		return c.ledger.Update(func(w *ledger.Writer) error {
			return fn(func(changes ledger.Changes) error {
				_, err := w.Commit(ctx, ledger.Act{By: c.by}, changes)
				return err
			})
		})
	}
	return fn(func(changes ledger.Changes) error {
		term, err := c.store.Term(ctx)
		if err != nil {
			return err
		}
		_, err = c.store.Commit(ctx, versionstore.Transaction{Term: term, Removals: changes.Removals, By: c.by})
		return err
	})
}

// needs are the versions of a config that must stay.
type needs struct {
	named map[uint64]bool // by a pointer, or by a rollout in progress
	// ran are the versions that ran well, by region, the one that ran last first.
	ran [][]uint64
	// deleted is true if the config was deleted long ago in every region where it ran.
	deleted bool
}

// needsOf reads what is needed of a config.
func (c *collection) needsOf(ctx context.Context, config string) (needs, error) {
	n := needs{named: map[uint64]bool{}}
	pointers, err := c.ledger.PointersOf(ctx, config, slices.Values(c.policy.Regions()))
	if err != nil {
		return n, err
	}
	live, gone := 0, 0
	for region, p := range pointers {
		n.named[p.Baseline.Version] = true
		n.named[p.Candidate.Version] = true
		switch {
		case p.Deleted() && time.UnixMicro(p.TimeMicros).Before(c.before):
			gone++
		case p.Epoch > 0:
			live++
		}
		log, err := c.ledger.Activations(ctx, config, region)
		if err != nil && !errors.Is(err, record.ErrMalformed) {
			return n, err
		}
		n.ran = append(n.ran, log.Ran())
	}
	n.deleted = gone > 0 && live == 0
	s, _, err := newestRollout(ctx, c.ledger, config)
	switch {
	case isNotFound(err):
		return n, nil
	case err != nil:
		return n, err
	case !s.Status.Over():
		n.deleted = false
		n.addRollout(s)
	}
	return n, nil
}

// addRollout adds the versions that a rollout in progress may still bring, or go back to.
func (n *needs) addRollout(s rollout.State) {
	n.named[s.Version] = true
	for _, r := range s.Regions {
		n.named[r.Baseline.Version] = true
	}
}

// collectable returns the versions that can go, the oldest first. history has all versions of a
// config, newest first. Versions stay that are named, or were stored after before; and so do the
// keep newest, and the keep that ran last and well in each region. Of a config that was deleted long
// ago all go, but only together with the newest.
func collectable(history []versionstore.Version, n needs, keep int, before time.Time) []uint64 {
	young := func(v versionstore.Version) bool { return !v.At.Before(before) }
	if n.deleted {
		if slices.ContainsFunc(history, young) {
			return nil
		}
		keep = 0
	}
	stays := n.named
	for _, ran := range n.ran {
		for _, version := range ran[:min(len(ran), keep)] {
			stays[version] = true
		}
	}
	var old []uint64
	for i, v := range history {
		if i >= keep && !stays[v.Manifest.Version] && !young(v) {
			old = append(old, v.Manifest.Version)
		}
	}
	slices.Reverse(old)
	return old
}

// collectBodies deletes the bodies that no version names. A body is uploaded before its version is
// stored, so a young one stays.
func (c *collection) collectBodies(ctx context.Context) error {
	before := time.Now().Add(-uploadAge)
	used := func(d record.Digest) bool { return c.used[d] }
	return c.blobs.Collect(ctx, before, used, func(size int64) bool {
		c.out.Bodies++
		c.out.Bytes += size
		return !c.in.DryRun
	})
}

// note logs what was removed, and adds it to the leader's journal.
func (c *collection) note(ctx context.Context) error {
	if c.in.DryRun || c.out.Versions == 0 && c.out.Bodies == 0 {
		return nil
	}
	what := fmt.Sprintf("collected %d versions and %d bodies of %d bytes", c.out.Versions, c.out.Bodies, c.out.Bytes)
	c.log.Info(what, "by", c.by)
	if !c.leads {
		return nil
	}
	return c.ledger.Update(func(w *ledger.Writer) error {
		_, err := w.Commit(ctx, ledger.Act{By: c.by, What: what, Why: c.in.Message}, ledger.Changes{})
		return err
	})
}
