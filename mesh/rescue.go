package mesh

import (
	"cmp"
	"maps"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// rescues are a root's attempts to reach agents that news does not reach. A node whose parent and
// backup die at one time does not notice for seconds, until its links time out. The root notices
// sooner: neither the node nor its parent answers a pointer. So the root dials the node and offers
// itself as the backup:
//
//	a pointer is announced ──► no answer within rescueDelay ──► dial ──► Notice
//	                                the node takes the root for its backup ──► CatchUp, bodies, Ack
//
// The node sends its acknowledgements to the backup, too, as long as it does not hear from its parent.
// The root dials few agents as long as that is in vain: agents with slow disks are not cut off.
type rescues struct {
	checks  []rescueCheck             // the earliest first
	dialing map[string]string         // names of agents, by address
	links   map[step.PeerID]step.Time // links that were of no use yet, and when to drop them
	budget  int                       // number of agents to dial at the next check
	dialed  int                       // since the check before
	useful  int                       // links that were of use since the check before
	wakeAt  step.Time
}

// rescueCheck is a look for agents that have not answered a pointer.
type rescueCheck struct {
	at       step.Time
	config   string
	position record.Position
	rounds   int             // checks of the pointer that are left
	tried    map[uint32]bool // indices of agents that were dialed
}

func newRescues() rescues {
	return rescues{
		dialing: map[string]string{},
		links:   map[step.PeerID]step.Time{},
		budget:  firstRescues,
		wakeAt:  step.Never,
	}
}

// expect arranges for a check of a pointer that is announced now.
func (r *rescues) expect(now step.Time, config string, at record.Position) {
	r.checks = slices.DeleteFunc(r.checks, func(c rescueCheck) bool { return c.config == config })
	if len(r.checks) == maxRescueChecks {
		return // an agent that is cut off has answered none of these pointers
	}
	r.schedule(rescueCheck{
		at:       now + rescueDelay,
		config:   config,
		position: at,
		rounds:   rescueRounds,
		tried:    map[uint32]bool{},
	})
}

func (r *rescues) schedule(c rescueCheck) {
	r.checks = append(r.checks, c)
	slices.SortStableFunc(r.checks, func(x, y rescueCheck) int { return cmp.Compare(x.at, y.at) })
	r.wakeAt = min(r.wakeAt, c.at)
}

// tickRescues dials agents that are cut off, and drops links that were of no use.
func (n *Node) tickRescues(now step.Time, out step.Outputs) step.Outputs {
	r := &n.root.rescues
	for len(r.checks) > 0 && r.checks[0].at <= now {
		check := r.checks[0]
		r.checks = r.checks[1:]
		r.learn(n.root.planner.Placed())
		orphans, waiting := n.root.quarantine.Orphans(check.config, check.position, check.tried, r.budget)
		for _, o := range orphans {
			check.tried[o.Index] = true
			_, dialing := r.dialing[o.Addr]
			if dialing || o.Addr == "" || n.standsBy(o.Name) {
				continue
			}
			r.dialed++
			r.dialing[o.Addr] = o.Name
			out = append(out, step.Output{Op: step.OpConnect, Addr: o.Addr})
		}
		check.rounds--
		if waiting > 0 && check.rounds > 0 {
			check.at = now + rescuePause
			r.schedule(check)
		}
	}
	for _, peer := range slices.Sorted(maps.Keys(r.links)) {
		if r.links[peer] <= now {
			delete(r.links, peer)
			n.shadows.forget(peer)
			out = n.peers.drop(peer, "not cut off", out)
		}
	}
	r.wakeAt = r.nextWake()
	return out
}

// standsBy reports whether the root is the backup of an agent already.
func (n *Node) standsBy(agent string) bool {
	return slices.ContainsFunc(n.shadows.peers, func(peer step.PeerID) bool { return n.peers[peer].Name == agent })
}

// learn sets the budget by the use of the last attempts: at most one agent in rescueShare is dialed
// at a time.
func (r *rescues) learn(agents int) {
	switch {
	case r.dialed == 0:
	case 2*r.useful >= r.dialed:
		r.budget = min(2*r.budget, max(firstRescues, agents/rescueShare))
	default:
		r.budget = max(r.budget/2, minRescues)
	}
	r.dialed = 0
	r.useful = 0
}

func (r *rescues) nextWake() step.Time {
	at := step.Never
	if len(r.checks) > 0 {
		at = r.checks[0].at
	}
	for _, dropAt := range r.links {
		at = min(at, dropAt)
	}
	return at
}

// onRescueDialed offers the root as the backup of an agent that the root has dialed. ok is false if
// the root did not dial the address for that.
func (n *Node) onRescueDialed(now step.Time, in step.Input, out step.Outputs) (_ step.Outputs, ok bool) {
	if n.root == nil {
		return out, false
	}
	r := &n.root.rescues
	agent, dialing := r.dialing[in.Link.Addr]
	if !dialing {
		return out, false
	}
	delete(r.dialing, in.Link.Addr)
	switch {
	case in.Link.Identity.Name != agent:
		return n.peers.drop(in.Peer, "not the agent that was dialed", out), true
	case len(n.shadows.peers) >= maxShadows:
		return n.peers.drop(in.Peer, "backup of too many", out), true
	}
	n.shadows.peers = append(n.shadows.peers, in.Peer)
	r.links[in.Peer] = now + rescuePatience
	r.wakeAt = min(r.wakeAt, r.links[in.Peer])
	progress := n.pointers.progress()
	return send(in.Peer, &progress, out), true
}

// dialFailed notes that an agent could not be dialed. It returns false if the root did not dial the
// address.
func (r *rescues) dialFailed(addr string) bool {
	_, dialing := r.dialing[addr]
	delete(r.dialing, addr)
	return dialing
}

// used notes that a peer asks for what it lacks.
func (r *rescues) used(peer step.PeerID) {
	if _, waits := r.links[peer]; waits {
		delete(r.links, peer)
		r.useful++
	}
}

// onRescue takes a coordinator that offers itself for the backup, if the coordinator knows more
// than the node, and asks it for the missing pointers.
func (n *Node) onRescue(from step.PeerID, m *wire.Notice, out step.Outputs) step.Outputs {
	who := n.peers[from]
	own := who.Role == wire.RoleCoordinator && who.Region == n.cfg.Self.Region
	if !own || !n.up.attached() || from == n.up.parent || n.root != nil || !n.pointers.isBehind(*m) {
		return out
	}
	s := &n.up.standby
	if s.peer != 0 {
		out = n.peers.drop(s.peer, "the coordinator stands by instead", out)
	}
	s.peer = from
	s.name = who.Name
	s.addr = n.up.seed()
	s.wait = 0
	s.wakeAt = step.Never
	n.up.lagAt = step.Never
	if n.up.repairs == 0 {
		n.up.makeUp() // bodies come from the backup, too
	}
	return send(from, &wire.CatchUp{Since: n.pointers.catchUpSince()}, out)
}
