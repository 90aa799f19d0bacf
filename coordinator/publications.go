package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

// publication is a version to store, and the rollout to start with it.
type publication struct {
	launch // launch.added is the version
	starts bool
	// ifChanged stores nothing if the content is already there.
	ifChanged bool
}

// published is the outcome of a publication.
type published struct {
	version   versionstore.Version
	unchanged bool
	// state is the rollout; its ID is 0 if there is none.
	state rollout.State
}

// check makes the checks of a publication of the content in, and stores nothing.
func (r *requests) check(ctx context.Context, config string, in api.Check, by string) (out api.Checked, err error) {
	l := launch{config: config, by: by}
	if in.Start != nil {
		l, err = r.plan(ctx, config, *in.Start, by)
		if err != nil {
			return out, err
		}
	}
	err = r.ledger.Update(func(*ledger.Writer) error {
		last, err := r.ledger.Version(ctx, config, 0)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
			return err
		}
		// The manifest is not made yet; nothing of this decision is stored.
		l.version = record.Ref{Version: last.Manifest.Version + 1}
		if in.Start == nil {
			_, err = r.holds.permit(ctx, config, r.policy.Regions(), true)
		} else {
			_, err = r.prepareLaunch(ctx, l)
		}
		content := record.Manifest{ContentType: in.ContentType, BodySize: in.BodySize, BodySHA256: in.BodySHA256}
		same, s, found := r.unchanged(ctx, config, content, l.regions, in.Start != nil)
		if found {
			out = api.Checked{Unchanged: true, Version: same.Manifest.Version, Rollout: s.ID}
			return nil
		}
		return err
	})
	return out, err
}

// publish stores a version and starts its rollout, in one transaction.
func (r *requests) publish(ctx context.Context, p publication) (out published, err error) {
	m := p.added.Manifest
	err = r.ledger.Update(func(w *ledger.Writer) error {
		if p.ifChanged {
			same, s, found := r.unchanged(ctx, p.config, m, p.regions, p.starts)
			if found {
				out = published{version: same, unchanged: true, state: s}
				return nil
			}
		}
		if p.starts {
			out.state, err = r.launch(ctx, w, p.launch)
		} else {
			err = r.store(ctx, w, p)
		}
		if err != nil {
			return err
		}
		out.version, err = r.ledger.Version(ctx, p.config, m.Version)
		return err
	})
	return out, err
}

// store stores a version and starts no rollout.
func (r *requests) store(ctx context.Context, w *ledger.Writer, p publication) error {
	held, err := r.holds.permit(ctx, p.config, r.policy.Regions(), true)
	if err != nil {
		return err
	}
	act := ledger.Act{
		By:     p.by,
		Why:    p.added.Manifest.Message,
		What:   fmt.Sprintf("version %d stored", p.version.Version),
		Config: p.config,
	}
	_, err = w.Commit(ctx, act, ledger.Changes{
		Versions: []versionstore.SignedManifest{*p.added},
		Checks:   []versionstore.DocumentCheck{held},
	})
	return err
}

// unchanged returns the version that already is what a publication of the content m would lead
// to: every region runs it, or a rollout in progress brings it, or, if the publication starts no
// rollout, it is the newest version.
func (r *requests) unchanged(
	ctx context.Context,
	config string,
	m record.Manifest,
	regions []string,
	starts bool,
) (same versionstore.Version, s rollout.State, found bool) {
	is := func(version uint64) bool {
		v, err := r.ledger.Version(ctx, config, version)
		same = v
		stored := v.Manifest
		return err == nil && stored.BodySHA256 == m.BodySHA256 && stored.BodySize == m.BodySize &&
			stored.ContentType == m.ContentType
	}
	if !starts {
		return same, s, is(0)
	}
	s, _, err := newestRollout(ctx, r.ledger, config)
	under := err == nil && !s.Status.Over() && s.Status != rollout.Returning
	if under && is(s.Version) && covers(s, regions) {
		return same, s, true
	}
	pointers, err := r.ledger.PointersOf(ctx, config, slices.Values(regions))
	if err != nil || under {
		return same, rollout.State{}, false
	}
	var running record.Ref
	for _, p := range pointers {
		if p.Baseline.IsZero() || !p.Candidate.IsZero() || !running.IsZero() && p.Baseline != running {
			return same, rollout.State{}, false
		}
		running = p.Baseline
	}
	return same, rollout.State{}, !running.IsZero() && is(running.Version)
}

// covers reports whether a rollout brings its version to all regions.
func covers(s rollout.State, regions []string) bool {
	return !slices.ContainsFunc(regions, func(region string) bool {
		r := s.Regions[region]
		return r == nil || r.Left
	})
}
