package compare

import (
	"cmp"
	"fmt"
	"time"

	"banyan/mesh"
	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// BodyRun says under which conditions a body spreads.
type BodyRun struct {
	Arrangement mesh.Arrangement
	Whole       bool    // every host fetches it in one piece from its parent
	Swarm       bool    // hosts tell random partners what they have, and ask for what is rarest
	Loss        float64 // share of packets
	Dying       float64 // share of the hosts that die while it spreads
	Poison      float64 // share of the hosts that send poison
	Relays      float64 // share of the hosts that only pass on
}

func (b BodyRun) name() string {
	switch {
	case b.Whole:
		return "whole from the parent"
	case b.Swarm:
		return "swarm, rarest first"
	case b.Arrangement == mesh.ArrangeSiblings:
		return "siblings of one parent"
	}
	return measure.DefaultArrangement
}

func (b BodyRun) condition() string {
	switch {
	case b.Loss > 0:
		return fmt.Sprintf("%g%% of packets lost", 100*b.Loss)
	case b.Dying > 0:
		return fmt.Sprintf("%g%% of hosts die on the way", 100*b.Dying)
	case b.Poison > 0:
		return fmt.Sprintf("%g%% of hosts send poison", 100*b.Poison)
	case b.Relays > 0:
		return fmt.Sprintf("%g%% of hosts relay alone", 100*b.Relays)
	}
	return measure.DefaultCondition
}

// BodyRuns are what the simulator compares: the ways to trade shards, and the best of
// them under trouble.
func BodyRuns() []BodyRun {
	return []BodyRun{
		{Whole: true}, {Arrangement: mesh.ArrangeSiblings}, {Swarm: true}, {},
		{Loss: 0.01}, {Dying: 0.1}, {Poison: 0.05}, {Relays: 0.5}, {Relays: 0.9},
	}
}

// Body spreads one body over a fleet that runs an older version.
func Body(cfg world.Config, b BodyRun) (*measure.BodyReport, error) {
	if cfg.BodyBytes <= mesh.WholeLimit {
		return nil, fmt.Errorf("%w: bodies of up to %d bytes are fetched in one piece; give a larger one", record.ErrInvalid, mesh.WholeLimit)
	}
	began := time.Now()
	spread := spreadByMesh
	if b.Swarm {
		spread = spreadBySwarm
	}
	r, err := spread(cfg, b)
	if err != nil {
		return nil, err
	}
	r.Arrangement, r.Condition = b.name(), b.condition()
	r.WallSeconds = time.Since(began).Seconds()
	return r, nil
}

// spreadByMesh lets the protocol's own code do it.
func spreadByMesh(cfg world.Config, b BodyRun) (*measure.BodyReport, error) {
	const config = "capacity/body"
	cfg.WholeBodies, cfg.Arrangement = b.Whole, b.Arrangement
	cfg.Network.Loss = cmp.Or(b.Loss, cfg.Network.Loss)
	cfg.RelayShare = cmp.Or(b.Relays, cfg.RelayShare)
	r, err := measure.Begin(cfg, config)
	if err != nil {
		return nil, err
	}
	w := r.World
	for i := range w.Agents() {
		if b.Poison > 0 && w.Rand().Float64() < b.Poison {
			w.Misbehave(i, world.FaultPoison)
		}
	}
	u := r.Spread(world.Change{Config: config, Version: 2}, b.Dying)
	if w.Stopped() {
		return nil, measure.ErrStopped
	}
	return r.BodyReport(u), nil
}
