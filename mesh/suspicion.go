package mesh

import (
	"slices"

	"banyan/mesh/step"
)

// What this file decides is of whom nothing more is hoped for, and for how long: who is
// silent, who is behind, who lies.

// Limits of how long a source may be silent.
const (
	minPatience   = step.Time(80e6)
	mostPatience  = step.Time(60e9)
	firstPatience = step.Time(5e9)   // before it is known how fast shards come
	startPatience = step.Time(250e6) // with one that has sent nothing yet: links are being made
	stallPatience = step.Time(1e9)   // of all together
	paceOfGap     = 4                // a source may be silent for so many times the usual
	askAgain      = step.Time(5e9)   // before a source is asked anew for all that it has not sent
	maxPace       = step.Time(500e6) // between two looks
	minRelief     = 4                // shards that a source must have to send before it is relieved of some
	slowness      = 4                // by how much the usual rate may be below the fastest
	hedgeCost     = 4                // shards that must come for one to be asked of two
	firstHedges   = 64               // that may be before any came
	rateWindow    = 16               // shards by which their rate is measured
)

// pace is how often an exchange looks after its sources.
func (x *exchange) pace() step.Time { return min(max(x.gap(), minPatience), maxPace) }

// patience is how long a source may be silent while others deliver.
func (x *exchange) patience(s *source) step.Time {
	usual := firstPatience
	if x.gap() > 0 {
		usual = min(max(paceOfGap*x.gap(), minPatience), mostPatience)
	}
	if s.came == 0 {
		usual = max(usual, startPatience)
	}
	return min(usual<<min(s.strikes, 5), mostPatience)
}

// look suspects the sources that are silent although others have sent what comes long
// after what is theirs to send. If all are silent, something above has stopped: then a few stripes
// are asked of the last resort, and more as long as that is all that helps.
func (n *Node) look(now step.Time, x *exchange, out []step.Output) []step.Output {
	if x.isDone() {
		x.wakeAt = step.Never
		return out
	}
	x.credit += hedgeCost
	changed := x.stale
	if now-x.last > x.stallPatience() {
		x.rescue = min(max(1, 2*x.rescue), len(x.inStripe))
		x.last, changed = now, true
	}
	for _, s := range x.sources {
		if s.orders == 0 || s.suspect {
			continue
		}
		patience := x.patience(s)
		if now-s.last > patience && (x.passed(s) || now-x.last > patience) {
			s.suspect, changed = true, true
			s.strikes++
			out = append(out, step.Output{Op: step.OpSuspect, Name: s.at.Name, Want: x.key.VersionKey})
		}
	}
	for _, s := range x.sources { // a peer that could not send a shard has forgotten it
		if s.orders > 0 && now-s.last > max(askAgain, 2*x.patience(s)) {
			s.theirs.ClearAll()
			s.last = now
			s.strikes++
		}
	}
	if changed = x.relieve(now) || changed; !changed {
		return n.order(now, x, out) // dials that wait
	}
	if n.allSuspect(x) {
		for _, s := range x.sources {
			s.suspect, s.relief = false, 0
		}
	}
	return n.assign(now, x, out)
}

// relieve finds sources that have much more to send than the others, and has the later
// half of that asked of those who are next in line: they get it from the feeders, whose
// links are free by then. Without this the slowest uplink of a circle would set its pace.
func (x *exchange) relieve(now step.Time) (changed bool) {
	total, count := 0, 0
	for _, s := range x.sources {
		if s.came > 0 && !s.suspect {
			total, count = total+s.orders, count+1
		}
	}
	for _, s := range x.sources {
		if s.suspect || s.orders < minRelief || count < 2 || s.orders < 3*(total-s.orders)/(count-1) {
			continue
		}
		if others := (total - s.orders) / (count - 1); others >= minRelief && now-s.last < 2*x.gap() {
			continue // it delivers, and there is more to come from the others too
		}
		skip := s.orders / 2
		for shard, ok := s.asked.NextSet(0); ok; shard, ok = s.asked.NextSet(shard + 1) {
			if skip--; skip < 0 {
				s.relief, changed = shard, true
				break
			}
		}
	}
	return changed
}

// stallPatience is how long nothing may come from anyone. Until it is known how fast
// shards come, a slow link is more likely than a dead circle.
func (x *exchange) stallPatience() step.Time {
	usual := firstPatience
	if gap := x.gap(); gap > 0 {
		usual = max(stallPatience, 8*gap)
	}
	for asked := x.rescue; asked > 0 && usual < mostPatience; asked /= 2 { // each time longer
		usual *= 2
	}
	return usual
}

// passed tells whether others have sent what comes long after what a source still has
// to send: shards flow in their order.
func (x *exchange) passed(s *source) bool {
	first, ok := s.asked.NextSet(0)
	return ok && x.highest-int(first) > 2*len(x.sources)
}

func (n *Node) allSuspect(x *exchange) bool {
	return !slices.ContainsFunc(x.sources, func(s *source) bool { return !s.suspect })
}

// sawRate learns how fast shards come: the last run of rateWindow shards, but not much
// slower than the fastest, since a pause must not make the next one last longer. Where
// the rate falls for good, sources are suspected too early, and given more time with
// each strike.
func (x *exchange) sawRate(now step.Time) {
	if x.received%rateWindow != 0 {
		return
	}
	if took := now - x.windowAt; x.windowAt != 0 {
		if x.fastest == 0 || took < x.fastest {
			x.fastest = took
		}
		x.recent = took
	}
	x.windowAt = now
}

// gap is the usual time between two shards of one source; 0: not known yet.
func (x *exchange) gap() step.Time {
	return min(x.recent, slowness*x.fastest) / rateWindow * step.Time(max(x.active, x.delivering))
}

// ReasonPoison is why a shard is refused whose bytes are not what the index says.
const ReasonPoison = "shard_checksum"

// shunTime is how long a peer that sent poison is asked for nothing.
const shunTime = step.Time(600e9)

// poisoned drops a shard that was none, and shuns its sender.
func (n *Node) poisoned(now step.Time, in step.Input, out []step.Output) []step.Output {
	name := n.peers[in.Peer].Name
	out = append(out, step.Output{Op: step.OpRefused, Peer: in.Peer, Name: name, Reason: ReasonPoison})
	n.shun(now, name)
	for _, x := range n.trading {
		for _, s := range x.sources {
			if s.at.Name == name {
				s.suspect = true
			}
		}
	}
	return n.reassign(now, out)
}
