package tree

import "slices"

// Accuse reports that the agent with the index accuser left the parent called name
// because that parent withheld announcements or sent damaged bodies. top is as in Reconcile.
func (p *Planner) Accuse(top, accuser uint32, name string) {
	if agent := p.below(top, accuser); agent != nil {
		p.suspect(agent, name)
	}
}

// suspect takes relay duty from the accused agent. One accusation is enough, because a
// wrong accusation costs little. Each agent can have one other agent under suspicion,
// and the number of suspects is limited: past the limit the earliest is pardoned.
func (p *Planner) suspect(accuser *place, name string) {
	index, known := p.byName[name]
	if !known || name == accuser.name || p.places[index].accuser != nil {
		return
	}
	earlier := func(s *place) bool { return s.accuser == accuser }
	if i := slices.IndexFunc(p.suspects, earlier); i >= 0 {
		p.pardon(i)
	}
	if len(p.suspects) >= max(minSuspects, len(p.places)/suspectShare) {
		p.pardon(0)
	}
	p.places[index].accuser = accuser
	p.suspects = append(p.suspects, p.places[index])
}

func (p *Planner) pardon(i int) {
	s := p.suspects[i]
	p.suspects = slices.Delete(p.suspects, i, i+1)
	s.accuser = nil
	p.offer(s)
}

// confine takes relay duty from an agent, or gives relay duty back. The agent keeps its
// children: an agent that can't apply a version can still relay the version.
func (p *Planner) confine(c *place, confined bool) {
	c.confined = confined
	p.offer(c)
}
