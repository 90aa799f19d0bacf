package coordinator

import (
	"cmp"
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
	// live are the regions in which an unchanged version is live.
	live []string
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
		if !in.IfChanged {
			return err
		}
		content := record.Manifest{ContentType: in.ContentType, BodySize: in.BodySize, BodySHA256: in.BodySHA256}
		same, differs := r.unchanged(ctx, l, content, in.Start != nil)
		if !same.unchanged {
			return cmp.Or(err, differs)
		}
		out = api.Checked{
			Unchanged: true,
			Version:   same.version.Manifest.Version,
			Rollout:   same.state.ID,
			Live:      same.live,
		}
		return nil
	})
	return out, err
}

// publish stores a version and starts its rollout, in one transaction.
func (r *requests) publish(ctx context.Context, p publication) (out published, err error) {
	m := p.added.Manifest
	err = r.ledger.Update(func(w *ledger.Writer) error {
		if p.ifChanged {
			out, err = r.unchanged(ctx, p.launch, m, p.starts)
			if err != nil || out.unchanged {
				return err
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
		Guards:   []versionstore.Guard{held, p.schema},
	})
	return err
}

// unchanged returns what a publication of the content m would lead to, if it is there already: the
// content is live in every region, or a rollout in progress brings it, or, if the publication starts
// no rollout, the newest version has it. It returns an error if a rollout in progress brings the
// content by another plan than the request asks for.
func (r *requests) unchanged(
	ctx context.Context, l launch, m record.Manifest, starts bool,
) (out published, err error) {
	is := func(version uint64) bool {
		v, err := r.ledger.Version(ctx, l.config, version)
		out.version = v
		stored := v.Manifest
		return err == nil && stored.BodySHA256 == m.BodySHA256 && stored.BodySize == m.BodySize &&
			stored.ContentType == m.ContentType
	}
	if !starts {
		out.unchanged = is(0)
		return out, nil
	}
	s, _, err := newestRollout(ctx, r.ledger, l.config)
	under := err == nil && !s.Status.Over() && s.Status != rollout.Returning
	if under {
		if !is(s.Version) || !covers(s, l.regions) {
			return out, nil
		}
		out.unchanged = !l.asksForPlan() || s.Follows(l.plan)
		out.state = s
		if !out.unchanged {
			err = otherPlan(s)
		}
		return out, err
	}
	pointers, err := r.ledger.PointersOf(ctx, l.config, slices.Values(l.regions))
	if err != nil {
		return out, nil
	}
	version := liveEverywhere(pointers)
	if version.IsZero() || !is(version.Version) {
		return out, nil
	}
	out.unchanged = true
	out.live = l.regions
	return out, nil
}

// liveEverywhere returns the version that every pointer makes live, without another on its way; the
// zero Ref if there is none.
func liveEverywhere(pointers map[string]record.Pointer) (live record.Ref) {
	for _, p := range pointers {
		other := !live.IsZero() && p.Baseline != live
		if p.Baseline.IsZero() || !p.Candidate.IsZero() || other {
			return record.Ref{}
		}
		live = p.Baseline
	}
	return live
}

// otherPlan is the error of a publication whose content a rollout brings by another plan.
func otherPlan(s rollout.State) error {
	hint := fmt.Sprintf("'banyan rollout abort %s', then publish again with the plan", s.Config)
	if s.Status != rollout.Waiting {
		hint = fmt.Sprintf("to skip its waves and gates: banyan rollout promote %s --full; or %s", s.Config, hint)
	}
	return &api.Error{
		Code: api.CodeConflict,
		Message: fmt.Sprintf("rollout %d of version %d, started by %s, brings the same content by another plan (%s)",
			s.ID, s.Version, s.By, s.Title()),
		Hint: hint,
	}
}

// covers reports whether a rollout brings its version to all regions.
func covers(s rollout.State, regions []string) bool {
	return !slices.ContainsFunc(regions, func(region string) bool {
		r := s.Regions[region]
		return r == nil || r.Left
	})
}
