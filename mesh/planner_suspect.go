package mesh

import "slices"

// suspect takes relay duty from the agent that another accuses. One accusation is
// enough, as it costs little to be wrong; but each agent can have one other under
// suspicion, and only so many can be at a time: the oldest is pardoned.
func (p *Planner) suspect(accuser *place, name string) {
	index, known := p.byName[name]
	if !known || name == accuser.name || p.places[index].accuser != 0 {
		return
	}
	earlier := func(s *place) bool { return s.accuser == accuser.index+1 }
	if i := slices.IndexFunc(p.suspects, earlier); i >= 0 {
		p.pardon(i)
	}
	if len(p.suspects) >= max(minSuspects, len(p.places)/suspectShare) {
		p.pardon(0)
	}
	p.places[index].accuser = accuser.index + 1
	p.suspects = append(p.suspects, p.places[index])
}

func (p *Planner) pardon(i int) {
	s := p.suspects[i]
	p.suspects = slices.Delete(p.suspects, i, i+1)
	s.accuser = 0
	p.offer(s)
}

// At most one agent in suspectShare, but minSuspects in any case, can be suspected.
const (
	minSuspects  = 8
	suspectShare = 16
)
