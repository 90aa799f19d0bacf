package swarm

import (
	"slices"

	"banyan/mesh/step"
)

// pace returns the time between two checks of the sources.
func (x *exchange) pace() step.Time { return min(max(x.gap(), minPatience), maxPace) }

// gap returns the usual time between two shards of one source; 0 before the rate is known.
func (x *exchange) gap() step.Time {
	return min(x.recent, slowness*x.fastest) / rateWindow * step.Time(max(x.active, x.delivering))
}

// measureRate measures how fast shards arrive: the time of the latest run of rateWindow
// shards. The result is not much slower than the fastest run, because a pause must not
// make the next pause last longer. Where the rate falls for good, sources are suspected
// too early, and get more time with each strike.
func (x *exchange) measureRate(now step.Time) {
	if x.received%rateWindow != 0 {
		return
	}
	took := now - x.windowAt
	if x.windowAt != 0 {
		if x.fastest == 0 || took < x.fastest {
			x.fastest = took
		}
		x.recent = took
	}
	x.windowAt = now
}

// patience returns how long a source may be silent.
func (x *exchange) patience(src *source) step.Time {
	usual := firstPatience
	if x.gap() > 0 {
		usual = min(max(patienceGaps*x.gap(), minPatience), maxPatience)
	}
	if src.came == 0 {
		usual = max(usual, startPatience)
	}
	return min(usual<<min(src.strikes, 5), maxPatience)
}

// stallPatience returns how long no source at all may deliver. Before the rate is known,
// a slow link is more likely than a dead circle. The time doubles with each rescue.
func (x *exchange) stallPatience() step.Time {
	usual := firstPatience
	if gap := x.gap(); gap > 0 {
		usual = max(minStallPatience, 8*gap)
	}
	for asked := x.rescue; asked > 0 && usual < maxPatience; asked /= 2 {
		usual *= 2
	}
	return usual
}

// checkSources suspects each source that has been silent for longer than its patience, if
// other sources have delivered shards well beyond the first shard that the source owes, or
// if no source has delivered for as long. If all sources are silent, something above has
// stopped: a few stripes are ordered from the last resort, and more as long as only the last
// resort delivers.
func (s *Swarm) checkSources(now step.Time, x *exchange, out step.Outputs) step.Outputs {
	if x.isDone() {
		x.wakeAt = step.Never
		return out
	}
	x.credit += hedgeCost
	changed := x.stale
	if now-x.last > x.stallPatience() {
		x.rescue = min(max(1, 2*x.rescue), len(x.inStripe))
		x.last = now
		changed = true
	}
	for _, src := range x.sources {
		if !x.isSilent(now, src) {
			continue
		}
		src.accuse()
		changed = true
		out = append(out, step.Output{
			Op:   step.OpSuspect,
			Name: src.at.Name,
			Body: step.Body{Version: x.key.VersionKey},
		})
	}
	x.repeatOrders(now)
	if x.relieve(now) {
		changed = true
	}
	if !changed {
		return s.order(now, x, out) // dials that wait
	}
	if x.allSuspect() {
		for _, src := range x.sources {
			src.suspect = false
			src.relief = 0
		}
	}
	return s.assign(now, x, out)
}

// accuse makes a source a suspect: its shards are assigned to other sources, and the source
// gets more time in the future, because a slow source is suspected too early.
func (src *source) accuse() {
	src.suspect = true
	src.strikes++
}

// isSilent reports whether a source should be suspected.
func (x *exchange) isSilent(now step.Time, src *source) bool {
	if src.orders == 0 || src.suspect {
		return false
	}
	patience := x.patience(src)
	return now-src.last > patience && (x.passed(src) || now-x.last > patience)
}

// passed reports whether other sources have delivered shards that come long after the
// first shard that src owes. Shards are sent in the order of their numbers.
func (x *exchange) passed(src *source) bool {
	first, ok := src.asked.NextSet(0)
	return ok && x.highest-int(first) > 2*len(x.sources)
}

// repeatOrders arranges for all orders to be sent again to each source that has not
// delivered for long: a peer that could not send a shard has forgotten the order.
func (x *exchange) repeatOrders(now step.Time) {
	for _, src := range x.sources {
		if src.orders > 0 && now-src.last > max(askAgain, 2*x.patience(src)) {
			src.known.ClearAll()
			src.last = now
			src.strikes++
		}
	}
}

func (x *exchange) allSuspect() bool {
	return !slices.ContainsFunc(x.sources, func(src *source) bool { return !src.suspect })
}

// relieve finds sources that owe far more shards than the others, and relieves each of
// the second half of its shards: the next candidates fetch those from the feeders, whose
// links are free by then. Without relief, the slowest uplink of a circle would set the
// pace of the circle. It reports whether a source was relieved.
func (x *exchange) relieve(now step.Time) bool {
	total, count := 0, 0
	for _, src := range x.sources {
		if src.came > 0 && !src.suspect {
			total += src.orders
			count++
		}
	}
	relieved := false
	for _, src := range x.sources {
		if src.suspect || src.orders < minRelief || count < 2 {
			continue
		}
		others := total - src.orders
		if src.orders < 3*others/(count-1) {
			continue
		}
		average := others / (count - 1)
		if average >= minRelief && now-src.last < 2*x.gap() {
			continue // the source delivers, and the other sources owe shards too
		}
		if src.relieveHalf() {
			relieved = true
		}
	}
	return relieved
}

// relieveHalf sets relief to the first shard of the second half of the orders.
func (src *source) relieveHalf() bool {
	skip := src.orders / 2
	for shard, ok := src.asked.NextSet(0); ok; shard, ok = src.asked.NextSet(shard + 1) {
		skip--
		if skip < 0 {
			src.relief = shard
			return true
		}
	}
	return false
}

// poisoned handles a shard with other bytes than the index says: the sender is
// shunned, and its shards are assigned to other sources. If the link of the sender has ended, it is
// not known who the sender was, and its shards are assigned to others already.
func (s *Swarm) poisoned(now step.Time, peer step.PeerID, out step.Outputs) step.Outputs {
	name := s.name(peer)
	if name == "" {
		return s.reassign(now, out)
	}
	out = append(out, step.Output{Op: step.OpRefused, Peer: peer, Name: name, Reason: step.ReasonPoison})
	s.partners.shun(now, name)
	for _, x := range s.ordered {
		if src := x.find(name); src != nil {
			src.suspect = true
		}
	}
	return s.reassign(now, out)
}
