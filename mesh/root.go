package mesh

import (
	"errors"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// RootConfig configures what only a coordinator's node has. The zero value is usable.
type RootConfig struct {
	Planner tree.PlannerConfig
	// JoinRate is the number of joins per second that the root answers; 0 means
	// tree.DefaultJoinRate. Further agents are asked to join again later.
	JoinRate int
	// SignBatch signs a batch of pointers of a region and returns the signed root, see record.SignBatch.
	// If SignBatch is nil, every pointer leaves with its own signature.
	SignBatch func(region string, payloads [][]byte) (root []byte, err error)
	// Gossip lists the addresses of the gossip pool that upper relays are sent to; empty
	// if there is no pool.
	Gossip []string
}

// root is what only a coordinator's node has: it gives agents their places, and knows
// which of them fail. It is nil in an agent's node.
type root struct {
	planner    *tree.Planner
	quarantine *tree.Quarantine
	admission  tree.Admission
	rollCalls  rollCalls
	rescues    rescues
	gossip     []string
	waiting    map[step.PeerID]bool // links of agents that were put off
	reserving  bool                 // the driver reserves more agent indices

	recovering bool                   // the children are asked for all of their pointers
	asked      map[step.PeerID]uint64 // revision after which each child was asked for a page
}

// newRoot returns nil if cfg is nil.
func newRoot(cfg *RootConfig) *root {
	if cfg == nil {
		return nil
	}
	planner := tree.NewPlanner(cfg.Planner)
	return &root{
		planner:    planner,
		quarantine: tree.NewQuarantine(planner),
		admission:  tree.Admission{Rate: cfg.JoinRate},
		rollCalls:  newRollCalls(),
		rescues:    newRescues(),
		waiting:    map[step.PeerID]bool{},
		gossip:     cfg.Gossip,
	}
}

// deadline returns when the root wants to be woken; step.Never in an agent's node.
func (r *root) deadline() step.Time {
	if r == nil {
		return step.Never
	}
	return min(r.quarantine.Deadline(), r.rollCalls.deadline(), r.rescues.wakeAt)
}

// tickRoot acts on the root's deadlines that have passed.
func (n *Node) tickRoot(now step.Time, out step.Outputs) step.Outputs {
	if now >= n.root.quarantine.Deadline() {
		out = n.root.report(n.root.quarantine.Wake(now), out)
	}
	if now >= n.root.rollCalls.checkAt {
		n.checkSilent(now)
	}
	if now >= n.root.rollCalls.flushAt {
		out = n.root.rollCalls.flush(n.children, out)
	}
	if now >= n.root.rescues.wakeAt {
		out = n.tickRescues(now, out)
	}
	return out
}

// reportPlaced appends the number of agents that have a place, and the clones that were noticed.
func (r *root) reportPlaced(out step.Outputs) step.Outputs {
	for _, c := range r.planner.TakeClones() {
		out = append(out, step.Output{Op: step.OpCloned, Name: c.Agent, Reason: c.Addrs[0] + " and " + c.Addrs[1]})
	}
	return append(out, step.Output{Op: step.OpPlaced, Count: r.planner.Placed()})
}

// reportCorrected is like reportPlaced if the planner's picture has changed since before, a value of
// Planner.Changes.
func (r *root) reportCorrected(before uint64, out step.Outputs) step.Outputs {
	if r.planner.Changes() == before {
		return out
	}
	return r.reportPlaced(out)
}

// reserve asks for agent indices before they run out.
func (r *root) reserve(out step.Outputs) step.Outputs {
	if r.reserving || !r.planner.NeedsIndices() {
		return out
	}
	r.reserving = true
	return append(out, step.Output{Op: step.OpReserve})
}

// reserved takes the indices that the driver reserved. Without any, the next join asks again.
func (r *root) reserved(x step.Indices) {
	r.reserving = false
	if x.Count > 0 {
		r.planner.Reserved(x.First, x.Count)
	}
}

// report appends what changed in the quarantine.
func (r *root) report(changes []tree.Change, out step.Outputs) step.Outputs {
	for _, c := range changes {
		op := step.OpQuarantined
		if c.Released {
			op = step.OpReleased
		}
		out = append(out, step.Output{
			Op:     op,
			Name:   c.Agent,
			Body:   step.Body{Version: record.VersionKey{Config: c.Config}},
			Reason: c.Reason,
		})
	}
	return out
}

// observe passes acknowledgements from the root's own tree to the quarantine.
func (r *root) observe(now step.Time, region string, entries []wire.AckEntry, out step.Outputs) step.Outputs {
	for i := range entries {
		if entries[i].Region == region {
			out = r.report(r.quarantine.Observe(now, &entries[i]), out)
		}
	}
	return out
}

// expectAnswers has the quarantine wait for the answers to a pointer of the root's own region.
func (n *Node) expectAnswers(now step.Time, key record.PointerKey, at record.Position) {
	if n.root != nil && key.Region == n.cfg.Self.Region {
		n.root.quarantine.Expect(now, key.Config, at)
		if n.root.planner.Placed() > 0 {
			n.root.rescues.expect(now, key.Config, at)
		}
	}
}

// Census counts the agents under this root. The node must be a coordinator's.
func (n *Node) Census(now step.Time) *wire.Census {
	return tree.TakeCensus(now, n.root.planner, n.root.quarantine, n.pointers.candidates())
}

// takeCensus counts the agents under this root, for the root's own coordinator and for
// the leader that the coordinator follows.
func (n *Node) takeCensus(now step.Time, out step.Outputs) step.Outputs {
	c := n.Census(now)
	out = append(out, step.Output{
		Op:      step.OpCensus,
		Name:    n.cfg.Self.Name,
		Region:  n.cfg.Self.Region,
		Count:   int(c.Agents),
		Message: c,
	})
	if n.up.attached() {
		out = send(n.up.parent, c, out)
	}
	return out
}

// onCensus handles the census of a follower.
func (n *Node) onCensus(from step.PeerID, m *wire.Census, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || c.role != wire.RoleCoordinator {
		return out
	}
	return append(out, step.Output{
		Op:      step.OpCensus,
		Peer:    from,
		Name:    n.peers[from].Name,
		Region:  c.region,
		Count:   int(m.Agents),
		Message: m,
	})
}

// putOff asks an agent to join again later, over the link that it has. Past maxWaitingLinks, the
// agent is asked to hang up and to dial again: a link that waits costs memory.
func (r *root) putOff(from step.PeerID, reason string, after time.Duration, out step.Outputs) step.Outputs {
	m := &wire.Rejected{Reason: reason, After: uint32(after.Milliseconds())}
	if len(r.waiting) < maxWaitingLinks {
		r.waiting[from] = true
	} else {
		m.HangUp = true
	}
	return send(from, m, out)
}

// onJoin answers the request of an agent, or of a follower, for a place.
func (n *Node) onJoin(now step.Time, from step.PeerID, m *wire.Join, out step.Outputs) step.Outputs {
	who, linked := n.peers[from]
	switch {
	case !linked || n.root == nil:
		return send(from, &wire.Rejected{Reason: "not a coordinator"}, out)
	case who.Role == wire.RoleCoordinator:
		if reason := n.cfg.refuseFollower(who); reason != "" {
			return send(from, &wire.Rejected{Reason: reason}, out)
		}
		return send(from, &wire.Placement{}, out)
	case who.Region != n.cfg.Self.Region:
		return send(from, &wire.Rejected{Reason: "this coordinator serves region " + n.cfg.Self.Region}, out)
	}
	delete(n.root.waiting, from)
	if after := n.root.admission.Admit(now); after > 0 {
		return n.root.putOff(from, "too many join at once", after, out)
	}
	if m.Accuse != "" {
		out = append(out, step.Output{Op: step.OpAccused, Peer: from, Name: m.Accuse})
	}
	placement, err := n.root.planner.Join(now, who.Name, m)
	out = n.root.reserve(out)
	if errors.Is(err, tree.ErrBusy) {
		return n.root.putOff(from, err.Error(), busyDelay, out)
	}
	if err != nil {
		return send(from, &wire.Rejected{Reason: err.Error()}, out)
	}
	if len(n.root.gossip) > 0 && n.root.planner.AdmitToGossip(placement.Index) {
		placement.Gossip = n.root.gossip
	}
	out = send(from, &placement, out)
	return n.root.reportPlaced(out)
}
