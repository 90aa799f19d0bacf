package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

// Kinds of the store's documents that rollouts are kept in.
const (
	kindRollout = "rollout"         // the newest of a config, by the config's name
	kindHistory = "rollout-history" // those before, by config and number
	// keptHistory is how many ended rollouts of a config are kept.
	keptHistory = 20
	// maxRollouts is how many run at once; followers tell the size of as many waves.
	maxRollouts = wire.MaxWaves
)

// Pace of the controller.
const (
	rolloutTick = 250 * time.Millisecond
	// gather lets acknowledgements that come together be looked at together.
	gather = 5 * time.Millisecond
	// censusAge is how long a coordinator counts that is not heard of; heads come with censuses.
	censusAge = 30 * time.Second
)

// rollouts drives the controller: what is seen of the fleet in, transactions out. Every
// write of a rollout or pointer happens under Coordinator.writes.
type rollouts struct {
	c       *Coordinator
	wake    chan struct{}
	started time.Time
	sized   time.Time // when the fleet's sizes were last looked at; of run alone

	mu     sync.Mutex
	active map[string]*active // by config; guarded by mu
}

// active is a rollout that has not ended.
type active struct {
	state   rollout.State
	seq     uint64 // of its document
	stepped time.Time
	gates   *asker
}

func newRollouts(c *Coordinator) *rollouts {
	return &rollouts{c: c, started: time.Now(), wake: make(chan struct{}, 1), active: map[string]*active{}}
}

// awake has the controller look at the fleet soon.
func (r *rollouts) awake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *rollouts) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.active)
}

// run loads the rollouts that were under way and goes on with them until ctx ends.
func (r *rollouts) run(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return fmt.Errorf("rollouts: %w", err)
	}
	defer r.stopGates()
	ticker := time.NewTicker(rolloutTick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-r.wake:
			select {
			case <-time.After(gather):
			case <-ctx.Done():
			}
		case <-ctx.Done():
			return nil
		}
		r.c.tracker.with(func(f *rollout.Tracker) { f.Expire(time.Now().Add(-max(censusAge, 5*r.c.cfg.HeadInterval))) })
		r.stepAll(ctx)
		r.c.rememberSizes(ctx)
	}
}

func (r *rollouts) load(ctx context.Context) error {
	documents, err := r.c.store.List(ctx, kindRollout, "", 0)
	if err != nil {
		return err
	}
	for _, d := range documents {
		var s rollout.State
		if err := json.Unmarshal(d.Raw, &s); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		if !s.Status.Over() {
			r.c.log.Info("rollout goes on", "config", s.Config, "rollout", s.ID, "at", s.Title())
			r.keep(s, d.Seq)
		}
	}
	return nil
}

// keep holds the newest state of a rollout, and lets go of one that has ended.
func (r *rollouts) keep(s rollout.State, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.active[s.Config]
	if a == nil {
		a = &active{stepped: time.Now()}
		r.active[s.Config] = a
	}
	if a.state.ID != s.ID {
		a.gates.stop()
		a.gates, a.stepped = nil, time.Now()
	}
	a.state, a.seq = s, seq
	if s.Status.Over() {
		a.gates.stop()
		delete(r.active, s.Config)
	}
}

func (r *rollouts) stopGates() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		a.gates.stop()
	}
}

func (r *rollouts) stepAll(ctx context.Context) {
	r.mu.Lock()
	configs := slices.Sorted(maps.Keys(r.active))
	r.mu.Unlock()
	for _, config := range configs {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = r.step(ctx, config); err != nil && ctx.Err() == nil {
				r.c.log.Error("rollout step", "config", config, "error", err)
			}
		}
	}
}

// step decides and commits one step of a config's rollout. more: another follows at once.
func (r *rollouts) step(ctx context.Context, config string) (more bool, err error) {
	r.c.writes.Lock()
	defer r.c.writes.Unlock()
	r.mu.Lock()
	a := r.active[config]
	r.mu.Unlock()
	if a == nil {
		return false, nil
	}
	v, err := r.view(ctx, a)
	if err != nil {
		return false, err
	}
	next, moves, changed := r.decide(a, v)
	if !changed {
		r.keep(next, a.seq)
	} else if err := r.commit(ctx, next, a.seq, moves); err != nil {
		r.reload(ctx, config, err)
		return false, err
	}
	r.ask(ctx, config)
	return changed && len(moves) == 0, nil
}

// decide asks the controller, with the time since it was asked last, by the monotonic clock.
func (r *rollouts) decide(a *active, v rollout.View) (rollout.State, []rollout.Move, bool) {
	now := time.Now()
	elapsed := now.Sub(a.stepped)
	a.stepped = now
	return rollout.Decide(a.state, v, elapsed)
}

// reload takes the stored state of a rollout whose step could not be written: if another
// wrote it meanwhile, that is what is gone on with.
func (r *rollouts) reload(ctx context.Context, config string, cause error) {
	if !errors.As(cause, new(*versionstore.ConflictError)) {
		return
	}
	if s, seq, err := r.c.rolloutOf(ctx, config); err == nil {
		r.keep(s, seq)
	}
}

// view is what is seen of the fleet for one rollout.
func (r *rollouts) view(ctx context.Context, a *active) (rollout.View, error) {
	v := rollout.View{Now: time.Now(), Uptime: time.Since(r.started), Regions: map[string]rollout.Region{}, Answers: a.gates.answers()}
	pointers, err := r.c.pointersOf(ctx, a.state.Config, maps.Keys(a.state.Regions))
	if err != nil {
		return v, err
	}
	r.c.tracker.with(func(f *rollout.Tracker) {
		for region, p := range pointers {
			v.Regions[region] = f.Region(p, a.state.Regions[region].Began)
		}
	})
	holds, err := r.c.holds(ctx, a.state.Config, slices.Collect(maps.Keys(a.state.Regions)))
	if len(holds) > 0 {
		v.Frozen = holds[0].String()
	}
	return v, err
}

// commit writes a rollout's next state with the pointers it moves, all or nothing. The
// caller holds writes.
func (r *rollouts) commit(ctx context.Context, s rollout.State, seq uint64, moves []rollout.Move, more ...versionstore.DocumentWrite) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	by := fmt.Sprintf("rollout %d (%s)", s.ID, s.By)
	t := versionstore.Transaction{By: by, Documents: append(more, versionstore.DocumentWrite{Kind: kindRollout, Name: s.Config, Raw: raw, IfSeq: seq})}
	if t.Pointers, err = r.c.sign(moves); err != nil {
		return err
	}
	r.c.onStep(s.Config, seq+1, false)
	if _, err := r.c.store.Commit(ctx, t); err != nil {
		return err
	}
	r.c.onStep(s.Config, seq+1, true)
	r.c.metrics.steps.Inc()
	r.c.metrics.moves.Add(len(moves))
	if s.Status.Over() {
		r.c.metrics.ended(s.Status)
	}
	for _, p := range moves {
		r.c.log.Info("pointer moved", "config", p.Config, "of", p.Region, "epoch", p.Epoch, "to", p.String(), "by", by)
	}
	r.keep(s, seq+1)
	return nil
}

func (c *Coordinator) onStep(config string, step uint64, committed bool) {
	if c.cfg.OnStep != nil {
		c.cfg.OnStep(config, step, committed)
	}
}

// sign makes signed pointers of moves, at the present time.
func (c *Coordinator) sign(moves []rollout.Move) ([]versionstore.SignedPointer, error) {
	now := time.Now().UnixMicro()
	var signed []versionstore.SignedPointer
	for _, p := range moves {
		p.TimeMicros = now
		raw, err := record.SignPointer(p, c.keys[p.Region])
		if err != nil {
			return nil, err
		}
		signed = append(signed, versionstore.SignedPointer{Pointer: p, Raw: raw})
	}
	return signed, nil
}

// ask has the gates of a config's rollout asked while its wave bakes.
func (r *rollouts) ask(ctx context.Context, config string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.active[config]
	if a == nil {
		return
	}
	part := fmt.Sprintf("%d/%d/%d", a.state.ID, a.state.Group, a.state.Wave)
	if a.gates != nil && (!a.state.Asks() || a.gates.part != part) {
		a.gates.stop()
		a.gates = nil
	}
	if a.gates == nil && a.state.Asks() {
		a.gates = startAsker(ctx, part, &a.state, r.awake)
	}
}

// rolloutOf reads the newest rollout of a config and its document's sequence.
func (c *Coordinator) rolloutOf(ctx context.Context, config string) (s rollout.State, seq uint64, err error) {
	d, err := c.store.Document(ctx, kindRollout, config)
	if err != nil {
		return s, 0, err
	}
	return s, d.Seq, json.Unmarshal(d.Raw, &s)
}

// archive is the writes that keep a rollout that another replaces.
func archive(s rollout.State) ([]versionstore.DocumentWrite, error) {
	raw, err := json.Marshal(s)
	return []versionstore.DocumentWrite{{Kind: kindHistory, Name: historyName(s.Config, s.ID), Raw: raw}}, err
}

func historyName(config string, id uint64) string { return fmt.Sprintf("%s %010d", config, id) }

// RolloutSteps is how many steps of rollouts of a config have been committed here.
func (c *Coordinator) RolloutSteps(ctx context.Context, config string) (uint64, error) {
	_, seq, err := c.rolloutOf(ctx, config)
	return seq, err
}
