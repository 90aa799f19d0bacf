package tree

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

const (
	// QuarantineAfter is the number of failures of an epoch after which an agent is quarantined.
	QuarantineAfter = 5
	// silenceLimit is the time within which an attached agent must answer an epoch.
	silenceLimit = step.Time(time.Minute)
	// gonePeriod is the time between two looks for agents in quarantine, or pardoned, that are gone.
	gonePeriod = step.Time(time.Minute)
	// If more than one agent in silentShare is silent about an epoch, none is quarantined:
	// the fault is in the path to the agents. One silent agent is always quarantined.
	silentShare = 20
	minSilent   = 1
	// maxLooks is the number of agents that one Wake looks at, give or take those of one config. The
	// next Wake comes lookPause later. Agents that have answered cost a cheapLooks-th of a look.
	maxLooks   = 20_000
	cheapLooks = 64
	lookPause  = step.Time(10 * time.Millisecond)
)

// Quarantine lists the agents of a planner that keep failing a config, or do not answer an epoch.
// Such an agent gets no more children, and later rollouts of that config leave the agent out of
// their counts (see wire.Quarantined.Excuses). The agent's next success with that config releases
// the agent. So does an operator.
type Quarantine struct {
	planner *Planner
	cases   map[caseKey]*quarantineCase
	// pardons is the number of failures that an operator forgave.
	pardons map[caseKey]uint32
	answers map[string]*answers // by config
	// due lists the epochs whose answers are awaited, the earliest first.
	due    []silenceCheck
	wakeAt step.Time
}

// caseKey identifies a quarantine: an agent can be in quarantine for several configs.
type caseKey struct {
	agent  *place
	config string
}

func compareCases(a, b caseKey) int {
	return cmp.Or(cmp.Compare(a.agent.index, b.agent.index), cmp.Compare(a.config, b.config))
}

type quarantineCase struct {
	wire.Quarantined
	since step.Time
}

// answers holds the agents that answered the newest pointer of a config, with success or failure.
type answers struct {
	position record.Position
	from     *roaring.Bitmap
}

type silenceCheck struct {
	at       step.Time
	config   string
	position record.Position
}

// Change reports that an agent entered or left quarantine for a config.
type Change struct {
	Agent    string
	Config   string
	Released bool
	Reason   string // why the agent entered
}

// NewQuarantine returns an empty quarantine of p's agents.
func NewQuarantine(p *Planner) *Quarantine {
	return &Quarantine{
		planner: p,
		cases:   map[caseKey]*quarantineCase{},
		pardons: map[caseKey]uint32{},
		answers: map[string]*answers{},
		wakeAt:  step.Never,
	}
}

// Deadline returns the time of the next Wake; step.Never if no answer is awaited and nobody is in
// quarantine, or pardoned.
func (q *Quarantine) Deadline() step.Time { return q.wakeAt }

// Expect reports that a pointer of config was announced. Subscribers without an answer
// within a minute are silent.
func (q *Quarantine) Expect(now step.Time, config string, at record.Position) {
	if len(q.due) >= MaxExpected {
		return
	}
	q.answers[config] = &answers{position: at, from: roaring.New()}
	q.due = append(q.due, silenceCheck{now + silenceLimit, config, at})
	q.wakeAt = min(q.wakeAt, q.due[0].at)
}

// Observe takes acknowledgements of the planner's own agents. It returns the agents that
// enter or leave quarantine.
func (q *Quarantine) Observe(now step.Time, e *wire.AckEntry) []Change {
	if a := q.answers[e.Config]; a != nil && a.position == e.Position {
		a.from.Or(e.Applied)
		a.from.Or(e.Failed)
	}
	var changes []Change
	for _, f := range e.Failures {
		key := caseKey{q.planner.places[f.Agent], e.Config}
		if key.agent != nil && q.cases[key] == nil && f.Attempts >= QuarantineAfter+q.pardons[key] {
			changes = q.confine(now, key, f.Name, e.Position, f.Reason, changes)
		}
	}
	q.endPardons(e)
	for _, key := range q.healed(e) {
		changes = q.release(key, changes)
	}
	return changes
}

// endPardons ends the pardons of agents that applied the pointer.
func (q *Quarantine) endPardons(e *wire.AckEntry) {
	maps.DeleteFunc(q.pardons, func(key caseKey, _ uint32) bool {
		return key.config == e.Config && e.Applied.Contains(key.agent.index)
	})
}

// healed returns the cases of agents that applied the pointer that they failed, or a later one.
func (q *Quarantine) healed(e *wire.AckEntry) []caseKey {
	var keys []caseKey
	for key, c := range q.cases {
		if key.config == e.Config && e.Position >= c.Position && e.Applied.Contains(key.agent.index) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compareCases)
	return keys
}

func (q *Quarantine) confine(
	now step.Time, key caseKey, name string, at record.Position, reason string, changes []Change,
) []Change {
	if len(q.cases) >= wire.MaxQuarantined {
		return changes
	}
	q.cases[key] = &quarantineCase{
		Quarantined: wire.Quarantined{
			Index:    key.agent.index,
			Name:     name,
			Config:   key.config,
			Position: at,
			Reason:   reason,
		},
		since: now,
	}
	q.planner.confine(key.agent, true)
	q.wakeAt = min(q.wakeAt, now+gonePeriod)
	return append(changes, Change{Agent: name, Config: key.config, Reason: reason})
}

func (q *Quarantine) release(key caseKey, changes []Change) []Change {
	name := q.cases[key].Name
	delete(q.cases, key)
	forAnother := false // the agent is in quarantine for another config too
	for other := range q.cases {
		forAnother = forAnother || other.agent == key.agent
	}
	q.planner.confine(key.agent, forAnother)
	return append(changes, Change{Agent: name, Config: key.config, Released: true})
}

// Release releases an agent from all of its quarantines at an operator's request. The
// agent may fail QuarantineAfter more times before it is quarantined again.
func (q *Quarantine) Release(agent string) []Change {
	var changes []Change
	for _, key := range q.sorted() {
		if q.cases[key].Name == agent {
			q.pardon(key)
			changes = q.release(key, changes)
		}
	}
	return changes
}

// pardon forgives an agent the failures of a quarantine. Past maxPardons, the next failure confines the
// agent again.
func (q *Quarantine) pardon(key caseKey) {
	if _, pardoned := q.pardons[key]; pardoned || len(q.pardons) < maxPardons {
		q.pardons[key] += QuarantineAfter
	}
}

func (q *Quarantine) sorted() []caseKey {
	return slices.SortedFunc(maps.Keys(q.cases), compareCases)
}

// Wake quarantines silent agents, releases gone agents, and ends the pardons of agents without a
// place. It looks at about maxLooks agents for silence; the next Wake goes on. After a start, the
// answers to all configs are due at one time.
func (q *Quarantine) Wake(now step.Time) []Change {
	var changes []Change
	looks := 0
	for len(q.due) > 0 && q.due[0].at <= now && looks < maxLooks {
		check := q.due[0]
		q.due = q.due[1:]
		looks += 1 + q.planner.Placed()/cheapLooks
		if a := q.answers[check.config]; a != nil && a.position == check.position {
			silent, looked := q.silent(now, check.config, a)
			looks += looked
			changes = q.confineSilent(now, check, silent, changes)
			delete(q.answers, check.config)
		}
	}
	for _, key := range q.sorted() {
		if c := key.agent; !q.planner.knows(c) || c.parent == nil || c.gone {
			changes = q.release(key, changes)
		}
	}
	maps.DeleteFunc(q.pardons, func(key caseKey, _ uint32) bool { return !q.planner.knows(key.agent) })
	q.wakeAt = q.nextWake(now)
	return changes
}

func (q *Quarantine) nextWake(now step.Time) step.Time {
	at := step.Never
	if len(q.cases)+len(q.pardons) > 0 {
		at = now + gonePeriod
	}
	if len(q.due) > 0 {
		at = min(at, q.due[0].at)
	}
	return max(at, now+lookPause)
}

// silent returns the agents that have been attached for silenceLimit, subscribe to config and have
// not answered, in the order of their indices. It returns none if so many are silent that the fault
// is in the path to them. looked is the number of agents that had to be looked at.
func (q *Quarantine) silent(now step.Time, config string, a *answers) (silent []*place, looked int) {
	missing := roaring.AndNot(q.planner.tally.present, a.from).Iterator()
	limit := max(minSilent, q.planner.Placed()/silentShare)
	for missing.HasNext() {
		c := q.planner.places[missing.Next()]
		looked++
		if now-c.since < silenceLimit || !c.Subscriptions.Include(config) {
			continue
		}
		if len(silent) == limit {
			return nil, looked
		}
		silent = append(silent, c)
	}
	return silent, looked
}

func (q *Quarantine) confineSilent(now step.Time, check silenceCheck, silent []*place, changes []Change) []Change {
	for _, c := range silent {
		key := caseKey{c, check.config}
		if q.cases[key] == nil {
			changes = q.confine(now, key, c.name, check.position, "silent", changes)
		}
	}
	return changes
}

// countExcused counts the attached agents that are left out of the counts of a rollout: those in
// quarantine for an earlier pointer of the config.
func (q *Quarantine) countExcused(candidate Candidate, w *wave) {
	for key, held := range q.cases {
		c := key.agent
		if c.attached() && held.Excuses(candidate.Pointer.Config, candidate.Since) {
			w.count(c, 1)
		}
	}
}
