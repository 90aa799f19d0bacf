package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/ledger"
	"banyan/internal/diskspace"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

// rollouts is the controller of a leader. It runs a rollout.Driver for each rollout that has
// not ended: the view of the fleet goes in, transactions come out. A driver and a sequence
// change only during an update of the ledger.
type rollouts struct {
	ledger    *ledger.Ledger
	tracker   *tracker
	inventory *inventory
	holds     *holds
	sizes     *sizes
	drifts    *driftMemory
	runs      *runs
	metrics   *coordinatorMetrics
	log       *slog.Logger
	censusAge time.Duration
	fresh     time.Duration // after which a census is old news for a status
	started   time.Time     // origin of the drivers' clock
	failures  failures      // of steps; used by the controller's goroutine only
	wake      chan struct{} // holds a value after something changed
	news      *news
	swept     time.Duration // when rollouts without news were judged last; for the controller's goroutine
	last      string        // the config that was judged last among these; for the controller's goroutine

	mu     sync.Mutex
	active map[string]*active // by config; mu guards the map and the fields of its values
}

// active is a rollout that has not ended.
type active struct {
	driver   *rollout.Driver
	seq      uint64 // of the stored document
	gates    *asker // nil while no gate is asked
	snapshot snapshot
	due      bool // there is news for the rollout
}

// clock returns the time since the start, by the monotonic clock.
func (r *rollouts) clock() time.Duration { return time.Since(r.started) }

// signal wakes the controller. It never blocks.
func (r *rollouts) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// changed has every rollout judged anew.
func (r *rollouts) changed() {
	r.news.ofAll()
	r.signal()
}

// count returns the number of rollouts that have not ended.
func (r *rollouts) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.active)
}

// run goes on with the stored rollouts until ctx ends.
func (r *rollouts) run(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return fmt.Errorf("rollouts: %w", err)
	}
	defer r.stopGates()
	var pace rollout.Pace
	tick := time.NewTicker(rollout.Tick)
	defer tick.Stop()
	step := time.NewTimer(0)
	defer step.Stop()
	for {
		select {
		case <-step.C:
			if pace.Due(r.clock()) {
				r.look(ctx)
			}
			continue
		case <-tick.C:
		case <-r.wake:
		case <-ctx.Done():
			r.drifts.remember(context.WithoutCancel(ctx))
			return nil
		}
		now := r.clock()
		due, first := pace.Wake(now)
		if first {
			step.Reset(due - now)
		}
	}
}

// load keeps the stored rollouts that have not ended. A rollout that can't be read is set aside:
// the others go on.
func (r *rollouts) load(ctx context.Context) error {
	documents, err := versionstore.ListAll(ctx, r.ledger, kindRollout, "")
	if err != nil {
		return err
	}
	for _, d := range documents {
		s, err := decodeRollout(d)
		if err != nil {
			r.setAside(ctx, d, err)
			continue
		}
		if !s.Status.Over() {
			r.log.Info("rollout goes on", "config", s.Config, "rollout", s.ID, "at", s.Title())
			r.keep(s, d.Seq)
		}
	}
	return nil
}

// setAside moves the document of a rollout that can't be read out of the way, so that people can
// start another rollout of the config.
func (r *rollouts) setAside(ctx context.Context, d versionstore.Document, why error) {
	r.metrics.unreadable.Inc()
	r.log.Error("rollout can't be read and is set aside; its regions stay as they are:"+
		" look at 'banyan status', then publish again or roll back", "config", d.Name, "error", why)
	writes := []versionstore.DocumentWrite{{Kind: kindRollout, Name: d.Name, IfSeq: d.Seq}}
	if d.Damaged == nil {
		name := fmt.Sprintf("%s %s %d", kindRollout, d.Name, time.Now().UnixNano())
		writes = append(writes, versionstore.DocumentWrite{Kind: kindUnreadable, Name: name, Raw: d.Raw})
	}
	err := r.ledger.Update(func(w *ledger.Writer) error {
		act := ledger.Act{By: "coordinator", What: "rollout set aside", Config: d.Name, Why: why.Error()}
		_, err := w.Commit(ctx, act, ledger.Changes{Documents: writes})
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.log.Error("unreadable rollout not set aside", "config", d.Name, "error", err)
	}
}

// look takes one step of each rollout whose turn it is.
func (r *rollouts) look(ctx context.Context) {
	r.tracker.with(func(f *rollout.Tracker) {
		for _, region := range f.Expire(time.Now().Add(-r.censusAge)) {
			r.news.ofRegion(region)
		}
	})
	for _, config := range r.turns(r.news.take()) {
		err := r.step(ctx, config)
		if ctx.Err() != nil {
			return
		}
		r.report(config, err)
	}
	r.runs.note(ctx)
	r.sizes.remember(ctx)
	r.drifts.remember(ctx)
	r.holds.sweep(ctx)
}

// report logs the outcome of a step. A full disk stops every rollout at every step, so failures
// are logged at an interval: one for all configs if the disk is full, else one for each config.
func (r *rollouts) report(config string, err error) {
	now := time.Now()
	if err == nil {
		if r.failures.ended(config) {
			r.log.Info("rollout steps succeed again", "config", config)
		}
		return
	}
	cause := config
	if errors.Is(err, diskspace.ErrFull) {
		cause = ""
	}
	if left, due := r.failures.due(config, cause, now); due {
		r.log.Error("rollout step failed; it is tried again", "config", config, "error", err, "not_logged", left)
	}
}

// step decides one step of a config's rollout and commits it.
func (r *rollouts) step(ctx context.Context, config string) error {
	return r.ledger.Update(func(w *ledger.Writer) error {
		r.mu.Lock()
		a := r.active[config]
		r.mu.Unlock()
		if a == nil {
			return nil
		}
		v, err := r.view(ctx, a)
		if err != nil {
			r.again(a)
			return err
		}
		r.mu.Lock()
		next, moves, changed := a.driver.Step(r.clock(), v)
		r.mu.Unlock()
		if changed {
			act := actOf(a.driver.Stored(), next)
			_, err := r.commit(ctx, w, act, next, a.seq, ledger.Changes{Moves: moves})
			r.committed(ctx, a, config, err)
			if err != nil {
				return err
			}
		}
		r.ask(ctx, config)
		return nil
	})
}

// commit stores the next state of a rollout with the other changes of an act, and returns the
// pointers that moved. seq is the sequence of the state before.
func (r *rollouts) commit(
	ctx context.Context,
	w *ledger.Writer,
	act ledger.Act,
	next rollout.State,
	seq uint64,
	changes ledger.Changes,
) ([]versionstore.PointerState, error) {
	write, err := writeOf(next, seq)
	if err != nil {
		return nil, err
	}
	changes.Documents = append(changes.Documents, write)
	states, err := w.Commit(ctx, act, changes)
	if err != nil {
		return nil, err
	}
	r.metrics.steps.Inc()
	if next.Status.Over() {
		r.metrics.ended(next.Status)
	}
	return states, nil
}

// actOf returns the act of a step of the controller that led from the state old of a rollout
// to the state next.
func actOf(old, next rollout.State) ledger.Act {
	act := ledger.Act{
		By:     fmt.Sprintf("rollout %d (%s)", next.ID, next.By),
		Why:    next.Message,
		What:   newsOf(old, next),
		Config: next.Config,
	}
	if next.End == rollout.RolledBack {
		act.Back = true
		act.Gate = true
		act.Why = next.Why
	}
	return act
}

// newsOf describes a step of a rollout by the lines that it added to the history; "" if it
// added none. old is the zero State before the first step.
func newsOf(old, next rollout.State) string {
	var news []string
	for _, e := range slices.Backward(next.Log) {
		if len(old.Log) > 0 && e == old.Log[len(old.Log)-1] {
			break
		}
		news = append(news, e.What)
	}
	if len(news) == 0 {
		return ""
	}
	slices.Reverse(news)
	return fmt.Sprintf("rollout %d: %s", next.ID, strings.Join(news, "; "))
}

// committed reports the outcome of a step's transaction to the driver. After a conflict, the
// driver goes on from the state that another writer stored.
func (r *rollouts) committed(ctx context.Context, a *active, config string, err error) {
	if errors.As(err, new(*versionstore.ConflictError)) {
		s, seq, err := newestRollout(ctx, r.ledger, config)
		if err == nil {
			r.keep(s, seq)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.due = true
	if err != nil {
		a.driver.Failed()
		return
	}
	a.driver.Committed()
	a.seq++
	if a.driver.Over() {
		r.drop(config)
	} else {
		r.signal()
	}
}

// keep makes s, which is stored at seq, the state of its config's rollout. The caller holds
// the write lock of the ledger, or the controller does not run yet.
func (r *rollouts) keep(s rollout.State, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.active[s.Config]
	if a == nil {
		a = &active{driver: rollout.NewDriver(s, r.clock())}
		r.active[s.Config] = a
	}
	if a.driver.Stored().ID != s.ID {
		a.gates.stop()
		a.gates = nil
	}
	a.driver.Load(s, r.clock())
	a.seq = seq
	a.snapshot.reset()
	a.due = true
	if s.Status.Over() {
		r.drop(s.Config)
	}
}

// drop lets go of a rollout that ended. The caller holds mu.
func (r *rollouts) drop(config string) {
	r.active[config].gates.stop()
	delete(r.active, config)
}

// refresh returns the state in memory of the rollout s, with the time spent since the last
// commit; s itself if the rollout is not in memory.
func (r *rollouts) refresh(s rollout.State) rollout.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.active[s.Config]
	if a == nil {
		return s
	}
	held := a.driver.State()
	if held.ID != s.ID {
		return s
	}
	return held
}

// places returns the places, in the order of waves, of the hosts that a rollout counts in a region
// with the pointer p, which is the zero Pointer if the region has none.
func (r *rollouts) places(s rollout.State, region string, p record.Pointer) []uint32 {
	p.Config = s.Config
	p.Region = region
	var excused *roaring.Bitmap
	r.tracker.with(func(f *rollout.Tracker) { excused = f.Excused(p, s.Regions[region].First(p)) })
	return r.inventory.places(region, s.Config, excused)
}

// nameWaiting fills in the names of the hosts that a rollout may wait for: those that are not heard
// of, those whose identity two hosts have, and those that are attached and have not applied the
// pointer, with the reason if they have said it.
func (r *rollouts) nameWaiting(config string, pointers map[string]record.Pointer, seen map[string]rollout.Region) {
	silent := map[string]*roaring.Bitmap{}
	heard := map[string]time.Time{}
	reasons := map[string]map[string]string{}
	r.tracker.with(func(f *rollout.Tracker) {
		for region, p := range pointers {
			heard[region] = f.LastHeard(region)
			silent[region] = f.Silent(p)
			reasons[region] = f.Reasons(p)
		}
	})
	for region, out := range seen {
		if time.Since(heard[region]) > r.fresh {
			out.Waiting = []string{"the coordinator of " + region + ", " + lastHeard(heard[region])}
			seen[region] = out
			continue
		}
		count := r.inventory.count(region, config)
		for _, a := range count.unheard[:min(listedHosts, len(count.unheard))] {
			out.Absent = append(out.Absent, a.name+", "+lastHeard(a.heard))
		}
		for _, name := range count.cloned[:min(listedHosts, len(count.cloned))] {
			out.Waiting = append(out.Waiting, name+", an identity with which two hosts run")
		}
		for _, name := range r.inventory.names(region, config, silent[region], listedHosts-len(out.Waiting)) {
			why := ", attached, no answer yet"
			if reason := reasons[region][name]; reason != "" {
				why = ": " + reason
			}
			out.Waiting = append(out.Waiting, name+why)
		}
		seen[region] = out
	}
}

// lastHeard says how long ago something was last heard of.
func lastHeard(at time.Time) string {
	if at.IsZero() {
		return "never heard of"
	}
	return fmt.Sprintf("last heard %s ago", max(time.Since(at), 0).Round(time.Second))
}

// ask starts or stops to ask the gates of a config's rollout. Gates are asked while a wave
// bakes, and each wave asks anew.
func (r *rollouts) ask(ctx context.Context, config string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.active[config]
	if a == nil {
		return
	}
	s := a.driver.State()
	part := fmt.Sprintf("%d/%d/%d", s.ID, s.Group, s.Wave)
	if a.gates != nil && (!s.Asks() || a.gates.part != part) {
		a.gates.stop()
		a.gates = nil
	}
	if a.gates == nil && s.Asks() {
		a.gates = startAsker(ctx, part, s, func() {
			r.news.ofConfig(config)
			r.signal()
		})
	}
}

func (r *rollouts) stopGates() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		a.gates.stop()
	}
}
