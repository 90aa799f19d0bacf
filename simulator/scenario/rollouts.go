package scenario

import (
	"time"

	"banyan/internal/quantity"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Rollouts compares plans on one fleet: how many hosts a bad version reaches under each,
// how soon it is gone, and how long a good one takes.
type Rollouts struct {
	Breaking quantity.Percent  // of the hosts that run the bad version: their health shows it
	After    quantity.Duration // how long after they took it up
	Look     quantity.Duration // time between two looks at hosts' health
	Body     quantity.Size
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
	minute := quantity.Duration(time.Minute)
	return []RolloutDef{
		{Waves: []quantity.Percent{1}, Bake: minute},
		{Waves: []quantity.Percent{1}, Bake: minute, Sequential: true},
		{Waves: []quantity.Percent{0.01, 1}, Bake: minute},
		{Waves: []quantity.Percent{0.01, 0.1, 0.5, 1}, Bake: minute},
		{Waves: []quantity.Percent{0.001, 0.01, 0.1, 0.5, 1}, Bake: minute},
		{Waves: []quantity.Percent{0.01, 1}, Bake: minute, Sequential: true},
		{Waves: []quantity.Percent{0.01, 1}, Bake: quantity.Duration(5 * time.Minute)},
	}
}

// rolloutLimit is how much virtual time a rollout has.
const rolloutLimit = 6 * time.Hour

// CompareRollouts rolls out, by each plan, a bad version and then a good one, on one fleet
// that runs another. say is told of each.
func CompareRollouts(cfg world.Config, c Rollouts, say func(RolloutRow)) ([]RolloutRow, error) {
	const config = "edge/proxy"
	if c.Plans == nil {
		c.Plans = RolloutPlans()
	}
	r, err := begin(cfg, config)
	if err != nil {
		return nil, err
	}
	var rows []RolloutRow
	for i, def := range c.Plans {
		def.Config, def.MaxFailures, def.After, def.Look, def.Body = config, 0.01, c.After, c.Look, c.Body
		var results [2]RolloutResult
		for k, breaking := range []quantity.Percent{c.Breaking, 1e-9} { // the good one is looked at too
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
	def.At = quantity.Duration(r.w.Now()-r.Start) + quantity.Duration(time.Second)
	o := startRollout(r, def, n)
	r.w.RunUntil(r.w.Now().Add(rolloutLimit), time.Second, func() bool { return o.began != 0 && o.driver.Over() })
	r.w.Run(r.w.Now().Add(time.Second)) // the last acknowledgements
	o.stop()
	if r.w.Stopped() {
		return RolloutResult{}, measure.ErrStopped
	}
	return o.result(), nil
}
