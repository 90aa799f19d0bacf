package mesh

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Quarantine: an agent that keeps failing a config, or is silent about it, is listed
// with its reason, gets no more children, and is left out of the arithmetic of gates
// whose rollout began later. Its first success for that config releases it, or a hand.
const (
	// QuarantineAfter is how often an agent must fail one epoch to be quarantined.
	QuarantineAfter = 5
	// silenceLimit is how long after an epoch an attached agent must have answered.
	silenceLimit = step.Time(time.Minute)
	// silentShare of the agents, at most, are quarantined for silence by one epoch, but
	// minSilent in any case: if more are silent, it is the way to them.
	silentShare = 20
	minSilent   = 1
)

// ward names a quarantine.
type ward struct {
	index  uint32
	config string
}

// quarantine is what a root knows of agents of its own tree that fail or are silent.
type quarantine struct {
	wards   map[ward]*wire.Quarantined
	since   map[ward]step.Time
	pardons map[ward]uint32 // attempts that a hand forgave
	answers map[string]*answers
	due     []silenceCheck // in the order of time
	wakeAt  step.Time
}

// answers is who has answered the newest epoch of a config, well or not.
type answers struct {
	epoch uint64
	from  *roaring.Bitmap
}

type silenceCheck struct {
	at     step.Time
	config string
	epoch  uint64
}

func newQuarantine() quarantine {
	return quarantine{wards: map[ward]*wire.Quarantined{}, since: map[ward]step.Time{}, pardons: map[ward]uint32{}, answers: map[string]*answers{}, wakeAt: step.Never}
}

// expect notes that an epoch was announced: who has not answered it in time is silent.
func (n *Node) expect(now step.Time, key record.PointerKey, epoch uint64) {
	if n.cfg.Planner == nil || key.Region != n.cfg.Self.Region {
		return
	}
	q := &n.quarantine
	if len(q.due) >= MaxConfigs {
		return
	}
	q.answers[key.Config] = &answers{epoch: epoch, from: roaring.New()}
	q.due = append(q.due, silenceCheck{now + silenceLimit, key.Config, epoch})
	q.wakeAt = min(q.wakeAt, q.due[0].at)
}

// diagnose looks at acknowledgements from this root's own tree.
func (n *Node) diagnose(now step.Time, entries []wire.AckEntry, out []step.Output) []step.Output {
	q := &n.quarantine
	for i := range entries {
		e := &entries[i]
		if e.Region != n.cfg.Self.Region {
			continue
		}
		if a := q.answers[e.Config]; a != nil && a.epoch == e.Epoch {
			a.from.Or(e.Applied)
			a.from.Or(e.Failed)
		}
		for _, f := range e.Failures {
			w := ward{f.Agent, e.Config}
			if _, in := q.wards[w]; !in && f.Attempts >= QuarantineAfter+q.pardons[w] {
				out = n.confine(now, w, f.Name, e.Epoch, f.Reason, out)
			}
		}
		out = n.releaseHealed(e, out)
	}
	return out
}

// releaseHealed releases those who applied an epoch no older than that they failed.
func (n *Node) releaseHealed(e *wire.AckEntry, out []step.Output) []step.Output {
	var healed []ward
	for w, held := range n.quarantine.wards {
		if w.config == e.Config && e.Epoch >= held.Epoch && e.Applied.Contains(w.index) {
			healed = append(healed, w)
		}
	}
	slices.SortFunc(healed, compareWards)
	for _, w := range healed {
		delete(n.quarantine.pardons, w)
		out = n.release(w, out)
	}
	return out
}

func compareWards(a, b ward) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.config, b.config))
}

// confine puts an agent into quarantine.
func (n *Node) confine(now step.Time, w ward, name string, epoch uint64, reason string, out []step.Output) []step.Output {
	q := &n.quarantine
	if len(q.wards) >= wire.MaxQuarantined || n.cfg.Planner.places[w.index] == nil {
		return out
	}
	q.wards[w] = &wire.Quarantined{Index: w.index, Name: name, Config: w.config, Epoch: epoch, Reason: reason}
	q.since[w] = now
	n.cfg.Planner.confine(w.index, true)
	return append(out, step.Output{Op: step.OpQuarantined, Name: name, Want: record.VersionKey{Config: w.config}, Reason: reason})
}

func (n *Node) release(w ward, out []step.Output) []step.Output {
	q := &n.quarantine
	held := q.wards[w]
	delete(q.wards, w)
	delete(q.since, w)
	confined := false // for another config
	for other := range q.wards {
		confined = confined || other.index == w.index
	}
	n.cfg.Planner.confine(w.index, confined)
	return append(out, step.Output{Op: step.OpReleased, Name: held.Name, Want: record.VersionKey{Config: w.config}})
}

// releaseByHand releases an agent from all its quarantines; it has as many attempts
// before it as anybody.
func (n *Node) releaseByHand(name string, out []step.Output) []step.Output {
	for _, w := range slices.SortedFunc(maps.Keys(n.quarantine.wards), compareWards) {
		if held := n.quarantine.wards[w]; held.Name == name {
			n.quarantine.pardons[w] += QuarantineAfter
			out = n.release(w, out)
		}
	}
	return out
}

// wakeQuarantine looks for agents that are silent, and forgets those that are gone.
func (n *Node) wakeQuarantine(now step.Time, out []step.Output) []step.Output {
	q := &n.quarantine
	for len(q.due) > 0 && q.due[0].at <= now {
		check := q.due[0]
		q.due = q.due[1:]
		if a := q.answers[check.config]; a != nil && a.epoch == check.epoch {
			out = n.confineSilent(now, check, a, out)
			delete(q.answers, check.config)
		}
	}
	for _, w := range slices.SortedFunc(maps.Keys(q.wards), compareWards) {
		if p := n.cfg.Planner.places[w.index]; p == nil || p.parent == nil || p.gone {
			out = n.release(w, out)
		}
	}
	q.wakeAt = step.Never
	if len(q.due) > 0 {
		q.wakeAt = q.due[0].at
	}
	return out
}

func (n *Node) confineSilent(now step.Time, check silenceCheck, a *answers, out []step.Output) []step.Output {
	var silent []uint32
	for index, p := range n.cfg.Planner.places {
		if p.parent != nil && !p.gone && now-p.since >= silenceLimit && p.Subscriptions.Include(check.config) && !a.from.Contains(index) {
			silent = append(silent, index)
		}
	}
	if len(silent) > max(minSilent, n.cfg.Planner.placed/silentShare) {
		return out
	}
	slices.Sort(silent)
	for _, index := range silent {
		w := ward{index, check.config}
		if _, in := n.quarantine.wards[w]; !in {
			out = n.confine(now, w, n.cfg.Planner.places[index].name, check.epoch, "silent", out)
		}
	}
	return out
}

// confine takes relay duty from an agent, or gives it back. Children that it has stay:
// who can't apply a version can still pass it on.
func (p *Planner) confine(index uint32, confined bool) {
	if c := p.places[index]; c != nil {
		c.confined = confined
		p.offer(c)
	}
}
