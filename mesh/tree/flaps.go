package tree

import "banyan/mesh/step"

// flaps counts the short stays of all agents, in periods of flapStay.
type flaps struct {
	period step.Time // when the present period began
	count  int
}

// countFlap counts the stay of an agent that has just ended, if the stay was short. A stay counts
// only if the agent was attached: an agent that could not reach its parent is not to blame.
func (p *Planner) countFlap(now step.Time, c *place) {
	end := now
	if !c.attached() {
		end = c.lostAt
	}
	c.forgiveFlaps(now)
	if !c.confirmed || end-c.since >= flapStay {
		return
	}
	if now-p.flaps.period >= flapStay {
		p.flaps = flaps{period: now}
	}
	p.flaps.count++
	if p.flaps.count > max(minFlappers, len(p.places)/flapShare) {
		return
	}
	c.flaps = min(c.flaps+1, 2*maxFlaps)
	c.flapAt = end
}

// forgiveFlaps lets one flap pass for each flapDecay since the last.
func (c *place) forgiveFlaps(now step.Time) {
	for c.flaps > 0 && now-c.flapAt >= flapDecay {
		c.flaps--
		c.flapAt += flapDecay
	}
}

// flappy reports whether an agent flapped so often that others are better parents.
func (c *place) flappy(now step.Time) bool {
	c.forgiveFlaps(now)
	return c.flaps >= maxFlaps
}
