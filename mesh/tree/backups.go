package tree

import "slices"

// chooseBackups returns the places that an agent goes to when the agent loses its
// parent, in the order in which to try them. Relays are considered in turn. A backup is
// not the agent's parent and not below the agent. If such relays are near in the list, a
// backup is in another branch of the tree than the agent, and the first backup is in
// another zone than the parent. The root is the last backup.
func (p *Planner) chooseBackups(agent *place, avoid []string) []*place {
	for _, old := range agent.backups {
		old.shadows--
	}
	agent.backups = nil
	strict := true
	limit := min(maxBackupTries, 2*len(p.relays))
	for tries := 0; len(agent.backups) < backupRelays && tries < limit; tries++ {
		if tries == maxBackupTries/2 || tries == len(p.relays) {
			strict = false
		}
		p.turn = (p.turn + 1) % len(p.relays)
		c := p.relays[p.turn]
		if !p.fitsAsBackup(c, agent, avoid) || strict && p.sharesFate(c, agent) {
			continue
		}
		c.shadows++
		agent.backups = append(agent.backups, c)
	}
	if agent.parent == &p.root {
		return agent.backups
	}
	return append(slices.Clone(agent.backups), &p.root)
}

func (p *Planner) fitsAsBackup(c, agent *place, avoid []string) bool {
	if !p.mayHaveChild(c, agent) || c == agent.parent || c.flappy(p.now) {
		return false
	}
	return !slices.Contains(agent.backups, c) && !slices.Contains(avoid, c.name) && c.shadows < 2*c.slots
}

// sharesFate reports whether c is likely to fail together with the agent's parent: c is
// in the same branch or, for the first backup, in the parent's zone.
func (p *Planner) sharesFate(c, agent *place) bool {
	if c.branch == agent.branch {
		return true
	}
	first := len(agent.backups) == 0
	severalZones := len(p.rooms.zones) > 2 // the root has a zone without a name
	return first && severalZones && agent.parent != &p.root && c.zone() == agent.parent.zone()
}
