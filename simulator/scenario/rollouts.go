package scenario

import (
	"time"

	"banyan/internal/quantity"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Rollouts says how CompareRollouts compares plans: with a bad version, and then with a
// good version.
type Rollouts struct {
	// Breaking is the share of hosts that the bad version makes unhealthy.
	Breaking quantity.Percent
	// After is the time from the apply at a host to the moment at which the host becomes
	// unhealthy.
	After quantity.Duration
	// Look is the time between two looks at the health of hosts.
	Look quantity.Duration
	Body quantity.Size
	// Plans are the plans to compare; nil means RolloutPlans.
	Plans []RolloutDef
}

// RolloutRow is the result of one plan.
type RolloutRow struct {
	Plan string        `json:"plan"`
	Bad  RolloutResult `json:"bad"`
	Good RolloutResult `json:"good"`
}

// RolloutPlans returns common plans, from all hosts at once to five waves.
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

// rolloutLimit is the virtual time within which a rollout must end.
const rolloutLimit = 6 * time.Hour

// CompareRollouts rolls out, with each plan, a bad version and then a good version, on one
// fleet. It calls say with each result.
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
		def.Config = config
		def.MaxFailures = 0.01
		def.After = c.After
		def.Look = c.Look
		def.Body = c.Body
		var results [2]RolloutResult
		for k, breaking := range []quantity.Percent{c.Breaking, 1e-9} { // the gate also looks at the good version
			def.Breaking = breaking
			results[k], err = r.rollOut(def, 2*i+k)
			if err != nil {
				return rows, err
			}
		}
		row := RolloutRow{Plan: def.title(), Bad: results[0], Good: results[1]}
		rows = append(rows, row)
		say(row)
	}
	return rows, nil
}

// rollOut runs rollout number n to its end.
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
