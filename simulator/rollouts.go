package simulator

import (
	"slices"
	"time"
)

// Rollouts compares plans on one fleet: how many hosts a bad version reaches under each,
// how soon it is gone, and how long a good one takes.
type Rollouts struct {
	Breaking Percent  // of the hosts that run the bad version: their health shows it
	After    Duration // how long after they took it up
	Look     Duration // time between two looks at hosts' health
	Body     Size
	Plans    []RolloutDef // those to compare; nil: RolloutPlans
}

// RolloutRow is how one plan fared.
type RolloutRow struct {
	Plan string        `json:"plan"`
	Bad  RolloutResult `json:"bad"`
	Good RolloutResult `json:"good"`
}

// RolloutPlans are plans that people use.
func RolloutPlans() []RolloutDef {
	minute := Duration(time.Minute)
	return []RolloutDef{
		{Waves: []Percent{1}, Bake: minute},
		{Waves: []Percent{1}, Bake: minute, Sequential: true},
		{Waves: []Percent{0.01, 1}, Bake: minute},
		{Waves: []Percent{0.01, 0.1, 0.5, 1}, Bake: minute},
		{Waves: []Percent{0.001, 0.01, 0.1, 0.5, 1}, Bake: minute},
		{Waves: []Percent{0.01, 1}, Bake: minute, Sequential: true},
		{Waves: []Percent{0.01, 1}, Bake: Duration(5 * time.Minute)},
	}
}

// rolloutLimit is how much virtual time a rollout has.
const rolloutLimit = 6 * time.Hour

// CompareRollouts rolls out, by each plan, a bad version and then a good one, on one fleet
// that runs another. say is told of each.
func CompareRollouts(cfg Config, c Rollouts, say func(RolloutRow)) ([]RolloutRow, error) {
	const config = "edge/proxy"
	if c.Plans == nil {
		c.Plans = RolloutPlans()
	}
	r, err := newRun(cfg, config)
	if err != nil {
		return nil, err
	}
	var rows []RolloutRow
	for i, def := range c.Plans {
		def.Config, def.MaxFailures, def.After, def.Look, def.Body = config, 0.01, c.After, c.Look, c.Body
		var results [2]RolloutResult
		for k, breaking := range []Percent{c.Breaking, 1e-9} { // the good one is looked at too
			def.Breaking = breaking
			if results[k], err = r.rollOut(def, 2*i+k); err != nil {
				return rows, err
			}
		}
		row := RolloutRow{Plan: def.title(), Bad: results[0], Good: results[1]}
		rows = append(rows, row)
		say(row)
	}
	return rows, nil
}

// rollOut runs one rollout to its end.
func (r *run) rollOut(def RolloutDef, n int) (RolloutResult, error) {
	def.At = Duration(r.w.now-r.start) + Duration(time.Second)
	applied, leader, accepts := len(r.w.watch.applied), len(r.w.watch.leader), r.w.accepts
	o := startRollout(r, def, n)
	r.w.RunUntil(r.w.now.Add(rolloutLimit), time.Second, func() bool { return o.began != 0 && o.driver.Over() })
	r.w.Run(r.w.now.Add(time.Second)) // the last acknowledgements
	r.w.watch.applied, r.w.watch.leader, r.w.accepts = r.w.watch.applied[:applied], slices.Clip(r.w.watch.leader[:leader]), accepts
	if r.w.stopped {
		return RolloutResult{}, ErrStopped
	}
	return o.result(), nil
}
