package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"banyan/body"
	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/internal/quantity"
	"banyan/internal/ticks"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/versionstore"
)

// recovery gives a store the history back that it lost, from the hosts:
//
//	InRecover ──► every child sends its pointers ──► OpRecovered: the newer ones are collected; OpSentAll
//	  for each version that they name and that the store lacks: fetch it from a child that has it
//	  import the versions, then the pointers ──► a new term begins
//
// A host holds the signed pointers of its region and the signed versions that it runs. Rollouts,
// plans, holds and versions that no pointer names can't be recovered.
type recovery struct {
	ledger  *ledger.Ledger
	blobs   *versionstore.FileBlobs
	policy  *record.Policy
	lineage *lineage
	driver  *transport.Driver
	region  string // the leader's own region
	log     *slog.Logger

	mu      sync.Mutex
	running *gathering // nil while no recovery runs; guarded by mu

	// adoptAt is the time before which adopt does nothing. Only adopt, which is not called twice at a
	// time, uses it.
	adoptAt time.Time
}

// gathering collects what the children send.
type gathering struct {
	pointers map[record.PointerKey]*wire.Announcement // the newest of each key
	// holders are the children that sent a pointer of a config, by config: they are asked for its
	// versions first.
	holders map[string][]step.PeerID
	waiting map[step.PeerID]bool   // children that have not sent all of their pointers
	asked   map[step.PeerID]string // the regions of the children that were asked
	leftOut int                    // number of pointers that were not collected, over maxRecovered
	done    chan struct{}          // closed when no child is waited for
}

func newGathering() *gathering {
	return &gathering{
		pointers: map[record.PointerKey]*wire.Announcement{},
		holders:  map[string][]step.PeerID{},
		waiting:  map[step.PeerID]bool{},
		done:     make(chan struct{}),
	}
}

// hear takes a pointer that a child sent. It runs in the driver's goroutine.
func (r *recovery) hear(child step.PeerID, a *wire.Announcement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		r.running.add(child, a)
	}
}

// heardAll notes that a child has sent all of its pointers. It runs in the driver's goroutine.
func (r *recovery) heardAll(child step.PeerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		r.running.ended(child)
	}
}

func (g *gathering) add(child step.PeerID, a *wire.Announcement) {
	key := a.Pointer.Key()
	held := g.pointers[key]
	if held == nil && len(g.pointers) >= maxRecovered {
		g.leftOut++
		return
	}
	if held == nil || a.Pointer.Position() > held.Pointer.Position() {
		g.pointers[key] = a
	}
	if holders := g.holders[key.Config]; len(holders) < maxHolders && !slices.Contains(holders, child) {
		g.holders[key.Config] = append(holders, child)
	}
}

func (g *gathering) ended(child step.PeerID) {
	if !g.waiting[child] {
		return
	}
	delete(g.waiting, child)
	if len(g.waiting) == 0 {
		close(g.done)
	}
}

// regions returns the regions of the children that were asked.
func (g *gathering) regions() []string {
	asked := slices.AppendSeq([]string{}, maps.Values(g.asked))
	slices.Sort(asked)
	return slices.Compact(asked)
}

// unanswered returns those of regions, and of the regions that were asked, from which no child has sent
// all of its pointers.
func (g *gathering) unanswered(regions []string) []string {
	answered := map[string]bool{}
	for child, region := range g.asked {
		answered[region] = answered[region] || !g.waiting[child]
	}
	all := slices.Concat([]string{}, regions, g.regions())
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(region string) bool { return answered[region] })
}

// run recovers what the hosts have, and begins a new term.
func (r *recovery) run(ctx context.Context, by string, in api.Recover) (*api.Recovered, error) {
	all := func(record.PointerKey) bool { return true }
	wait := cmp.Or(time.Duration(in.Wait), recoverWait)
	r.awaitRegions(ctx, min(wait, regionWait))
	out, err := r.collect(ctx, wait, all)
	if err != nil {
		return nil, err
	}
	if len(out.Asked) == 0 {
		return nil, &api.Error{
			Code:    api.CodeUnavailable,
			Message: "no host is connected to this leader: nothing was asked, and nothing was changed",
			Hint:    "wait until hosts are connected again: banyan agents",
		}
	}
	if len(out.Failed)+len(out.Unanswered)+out.Silent+out.LeftOut > 0 && !in.Partly {
		out.Stopped = true // the next term would hide what was not recovered
		return out, nil
	}
	return r.begin(ctx, out, ledger.Act{By: by, Why: in.Message, What: "the history of the hosts goes on"})
}

// keep keeps the history of the store, and begins a new term. A config that only hosts have does
// not contradict the store, and is taken: nothing could take its pointer away from the hosts.
func (r *recovery) keep(ctx context.Context, by string, in api.NewTerm) (*api.Recovered, error) {
	missing := func(key record.PointerKey) bool { return r.missing(ctx, key) }
	out, err := r.collect(ctx, keepWait, missing)
	if err != nil {
		return nil, err
	}
	return r.begin(ctx, out, ledger.Act{By: by, Why: in.Message, What: "the history of the store goes on"})
}

// missing reports whether the store has no pointer of a key.
func (r *recovery) missing(ctx context.Context, key record.PointerKey) bool {
	_, err := r.ledger.Pointer(ctx, key.Config, key.Region)
	return errors.Is(err, versionstore.ErrNotFound)
}

// begin begins the new term after a collection, also if the caller has gone meanwhile.
func (r *recovery) begin(ctx context.Context, out *api.Recovered, act ledger.Act) (_ *api.Recovered, err error) {
	act.What += fmt.Sprintf(", %s recovered from hosts", quantity.Of(len(out.Recovered), "pointer"))
	out.Term, err = r.ledger.BeginTerm(context.WithoutCancel(ctx), act, r.lineage.next())
	return out, err
}

// collect takes the pointers of the hosts for which wanted returns true. It waits for at most
// wait for the children to send their pointers.
func (r *recovery) collect(
	ctx context.Context, wait time.Duration, wanted func(record.PointerKey) bool,
) (*api.Recovered, error) {
	g, err := r.gather(ctx, wait)
	if err != nil {
		return nil, err
	}
	out := &api.Recovered{
		Asked:      g.regions(),
		Unanswered: g.unanswered(r.otherRegions()),
		Silent:     len(g.waiting),
		LeftOut:    g.leftOut,
		Recovered:  []api.RecoveredPointer{},
		Failed:     []api.RecoveredPointer{},
	}
	for _, key := range slices.SortedFunc(maps.Keys(g.pointers), compareKeys) {
		if !wanted(key) {
			continue
		}
		a := g.pointers[key]
		line := api.RecoveredPointer{
			Config:    key.Config,
			Region:    key.Region,
			Term:      a.Pointer.Term,
			Epoch:     a.Pointer.Epoch,
			Version:   a.Pointer.Baseline.Version,
			Candidate: a.Pointer.Candidate.Version,
		}
		if err := r.take(ctx, a, g.holders[key.Config]); err != nil {
			line.Why = err.Error()
			out.Failed = append(out.Failed, line)
			r.log.Error("pointer not recovered", "config", key.Config, "of", key.Region, "error", err)
			continue
		}
		r.log.Info("pointer recovered", "pointer", a.Pointer.String())
		out.Recovered = append(out.Recovered, line)
	}
	return out, nil
}

// otherRegions returns the regions whose pointers the leader moves, except its own, which may have no
// hosts; a follower answers for each other region.
func (r *recovery) otherRegions() []string {
	return slices.DeleteFunc(r.ledger.Regions(), func(region string) bool { return region == r.region })
}

// awaitRegions waits until a follower or a host of each region is connected, for at most limit. When a
// leader starts, they connect again one after another.
func (r *recovery) awaitRegions(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for range ticks.FromNow(ctx, musterEvery) {
		var connected []string
		running := r.driver.Do(ctx, func(n *mesh.Node) {
			connected = slices.Collect(maps.Values(n.ChildRegions()))
		})
		if !running {
			return // connected may still be written
		}
		missing := func(region string) bool { return !slices.Contains(connected, region) }
		if !slices.ContainsFunc(r.ledger.Regions(), missing) {
			return
		}
	}
}

// gather asks every child for its pointers, and waits until all have answered.
func (r *recovery) gather(ctx context.Context, wait time.Duration) (*gathering, error) {
	g := newGathering()
	r.mu.Lock()
	busy := r.running != nil
	if !busy {
		r.running = g
	}
	r.mu.Unlock()
	if busy {
		return nil, &api.Error{Code: api.CodeConflict, Message: "a recovery is in progress"}
	}
	defer r.end(ctx)
	asked := r.driver.Decide(ctx, func(n *mesh.Node) []step.Input {
		r.mu.Lock()
		defer r.mu.Unlock()
		g.asked = n.ChildRegions()
		for child := range g.asked {
			g.waiting[child] = true
		}
		if len(g.waiting) == 0 {
			close(g.done)
		}
		return []step.Input{{Kind: step.InRecover}}
	})
	if !asked {
		return nil, versionstore.ErrClosed
	}
	select {
	case <-g.done:
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return g, nil
}

func (r *recovery) end(ctx context.Context) {
	r.driver.Input(context.WithoutCancel(ctx), step.Input{Kind: step.InRecovered})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = nil
}

// take imports a pointer and the versions that it names.
func (r *recovery) take(ctx context.Context, a *wire.Announcement, holders []step.PeerID) error {
	p := a.Pointer
	if err := r.takeVersions(ctx, p, holders); err != nil {
		return err
	}
	held, err := r.ledger.Pointer(ctx, p.Config, p.Region)
	switch {
	case err == nil && held.Pointer.Position() >= p.Position():
		return fmt.Errorf("the store has another pointer of %s in region %s at %s: only one of the two can stay",
			p.Config, p.Region, held.Pointer.Position())
	case err != nil && !errors.Is(err, versionstore.ErrNotFound):
		return err
	}
	// The revision of an announcement is not signed, so the store gives the pointer one of its own.
	pointers := []versionstore.SignedPointer{{Pointer: p, Raw: a.Raw}}
	return r.ledger.Recover(ctx, versionstore.Recovery{Pointers: pointers})
}

// takeVersions takes the versions that a pointer names.
func (r *recovery) takeVersions(ctx context.Context, p record.Pointer, holders []step.PeerID) error {
	for _, ref := range []record.Ref{p.Baseline, p.Candidate} {
		if ref.IsZero() {
			continue
		}
		if err := r.takeVersion(ctx, ref.Of(p.Config), holders); err != nil {
			return err
		}
	}
	return nil
}

// takeVersion fetches and imports a version, unless the store has the version. A version of the
// same number with other content is not replaced.
func (r *recovery) takeVersion(ctx context.Context, v record.VersionKey, holders []step.PeerID) error {
	held, err := r.ledger.Version(ctx, v.Config, v.Version)
	switch {
	case err == nil && held.Manifest.Digest() == v.Digest && r.blobs.Has(held.Manifest.Forms[0].SHA256):
		return nil
	case err == nil && held.Manifest.Digest() != v.Digest:
		return fmt.Errorf("the store has another version %d of %s, published by %s at %s: only one of the two can stay",
			v.Version, v.Config, held.By, clock(held.At))
	case err != nil && !errors.Is(err, versionstore.ErrNotFound):
		return err
	}
	err = fmt.Errorf("no host that is connected to this coordinator has version %d of %s", v.Version, v.Config)
	for _, peer := range holders {
		fetched := r.fetch(ctx, peer, v)
		if fetched == nil {
			return nil
		}
		err = fetched
	}
	return err
}

// fetch fetches the first form of a version from a child, and imports the version.
func (r *recovery) fetch(ctx context.Context, peer step.PeerID, v record.VersionKey) error {
	wish := body.Wish{Choice: wire.OnlyForm(0), FormOnly: true, Whole: true}
	return r.driver.FetchFrom(ctx, peer, v, wish, func(o body.Offer) error {
		verified, err := o.Verify(r.policy, v)
		if err != nil {
			return err
		}
		if o.What == body.ContentIndex {
			return fmt.Errorf("%w: an index instead of the form", body.ErrMismatch)
		}
		if err := r.blobs.Put(ctx, verified.Described.SHA256, verified.Described.Size, o.Bytes); err != nil {
			return err
		}
		versions := []versionstore.SignedManifest{{Manifest: verified.Manifest, Raw: o.Signed, By: "import"}}
		return r.ledger.Recover(ctx, versionstore.Recovery{Versions: versions})
	})
}

func compareKeys(a, b record.PointerKey) int {
	return cmp.Or(cmp.Compare(a.Config, b.Config), cmp.Compare(a.Region, b.Region))
}
