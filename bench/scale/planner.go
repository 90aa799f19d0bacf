package scale

import (
	"fmt"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// SilenceResult is what a coordinator needs to find the agents that did not answer.
type SilenceResult struct {
	Agents, Configs int
	// Longest is the processor time of the longest step of the coordinator's node, which does nothing
	// else meanwhile.
	Longest time.Duration
	// Total is the processor time of all steps.
	Total time.Duration
	// Silent is the number of agents that were found.
	Silent int
}

// Silence measures a coordinator whose pointers were all announced at one time, as after a start. All
// agents but one have acknowledged them. A minute later the coordinator looks for silent agents.
func Silence(agents, configs int) (SilenceResult, error) {
	r := SilenceResult{Agents: agents, Configs: configs}
	p, err := newTree(agents)
	if err != nil {
		return r, err
	}
	q := tree.NewQuarantine(p)
	for i := range configs {
		config := fmt.Sprintf("config/%06d", i)
		q.Expect(0, config, 1)
		e := wire.NewAckEntry(record.PointerKey{Config: config, Region: region}, 1, record.Digest{1})
		e.Applied.AddRange(1, uint64(agents))
		q.Observe(0, e)
	}
	for q.Deadline() < step.Time(2*time.Minute) { // later deadlines are for agents in quarantine
		began := cpuTime()
		r.Silent += len(q.Wake(q.Deadline()))
		took := cpuTime() - began
		r.Longest = max(r.Longest, took)
		r.Total += took
	}
	return r, nil
}

// newTree returns a planner with agents that are attached and have labels.
func newTree(agents int) (*tree.Planner, error) {
	p := tree.NewPlanner(tree.PlannerConfig{})
	tops := make([]uint32, agents) // the topmost agent of each agent's branch
	for i := range agents {
		description := wire.Description{
			Addr:   "agent:1",
			Relay:  true,
			Labels: map[string]string{wire.ZoneLabel: fmt.Sprint("zone-", i%4)},
		}
		name := fmt.Sprintf("agent-%06d", i)
		placed, err := p.Join(0, name, &wire.Join{Description: description})
		if err != nil {
			return nil, err
		}
		member := wire.Member{Index: placed.Index, Name: name, Description: description}
		if placed.Parent.Addr == "" {
			p.AdoptRoot(0, member)
			tops[i] = placed.Index
			continue
		}
		var parent uint32
		if _, err := fmt.Sscanf(placed.Parent.Name, "agent-%d", &parent); err != nil {
			return nil, err
		}
		tops[i] = tops[parent]
		p.Adopt(0, tops[i], member, parent)
	}
	return p, nil
}

// CensusResult is what the counting of a coordinator's agents takes.
type CensusResult struct {
	Agents, Rollouts int
	// First is the processor time of the first census after the rollouts began, and Next that of a later
	// one.
	First, Next time.Duration
}

// Census measures the census of a coordinator with agents and rollouts.
func Census(agents, rollouts int) (CensusResult, error) {
	r := CensusResult{Agents: agents, Rollouts: rollouts}
	p, err := newTree(agents)
	if err != nil {
		return r, err
	}
	q := tree.NewQuarantine(p)
	var candidates []tree.Candidate
	for i := range rollouts {
		pointer := pointerOf(fmt.Sprintf("config/%06d", i), region, 2)
		pointer.Candidate = record.Ref{Version: 2, Digest: record.Digest{2}}
		pointer.Wave = record.Wave{Share: 1000}
		candidates = append(candidates, tree.Candidate{Pointer: &pointer, Since: 2})
	}
	began := cpuTime()
	tree.TakeCensus(0, p, q, candidates)
	r.First = cpuTime() - began
	began = cpuTime()
	tree.TakeCensus(0, p, q, candidates)
	r.Next = cpuTime() - began
	return r, nil
}

// NamesResult is what becomes of many agents that come and go.
type NamesResult struct {
	// Placed is the number of agents that got a place.
	Placed int
	// Known is the number of agents that the planner knows at the end.
	Known int
}

// Names has agents with ever new names join and leave a coordinator, as with autoscaling: ten in a
// second, of which each stays for a minute.
func Names(names int) (NamesResult, error) {
	const rate, stay = 10, 60
	r := NamesResult{}
	p := tree.NewPlanner(tree.PlannerConfig{Indices: 1024})
	next := uint32(1024)
	var present []uint32
	for i := range names {
		now := step.Time(i/rate) * step.Time(time.Second)
		if p.NeedsIndices() {
			p.Reserved(next, 1024)
			next += 1024
		}
		description := wire.Description{Addr: "agent:1"}
		name := fmt.Sprintf("agent-%07d", i)
		placed, err := p.Join(now, name, &wire.Join{Description: description})
		if err != nil {
			return r, err
		}
		r.Placed++
		p.AdoptRoot(now, wire.Member{Index: placed.Index, Name: name, Description: description})
		present = append(present, placed.Index)
		if len(present) > rate*stay {
			p.LeaveRoot(now, present[0])
			present = present[1:]
		}
	}
	r.Known = len(p.Agents())
	return r, nil
}
