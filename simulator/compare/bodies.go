package compare

import (
	"cmp"
	"fmt"

	"banyan/mesh"
	"banyan/mesh/swarm"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// BodyRun says under which conditions a body spreads.
type BodyRun struct {
	// Arrangement is the way in which mesh nodes trade shards.
	Arrangement mesh.Arrangement
	// Whole makes every host fetch the body in one piece from its parent.
	Whole bool
	// Swarm spreads the body as BitTorrent does, without mesh nodes: hosts announce their
	// shards to random partners and ask for the rarest.
	Swarm bool

	// Loss is the share of packets that are lost.
	Loss float64
	// Dying is the share of hosts that die while the body spreads.
	Dying float64
	// Poison is the share of hosts that send shards with wrong bytes.
	Poison float64
	// Relays is the share of hosts that only relay.
	Relays float64
}

// name returns the way to spread the body in words.
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

// condition returns the trouble on the fleet in words.
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

// BodyRuns returns the runs that are compared: each way to spread a body on a healthy fleet,
// and the default way on fleets with trouble.
func BodyRuns() []BodyRun {
	return []BodyRun{
		{Whole: true},
		{Arrangement: mesh.ArrangeSiblings},
		{Swarm: true},
		{},
		{Loss: 0.01},
		{Dying: 0.1},
		{Poison: 0.05},
		{Relays: 0.5},
		{Relays: 0.9},
	}
}

// Body spreads one body over a fleet that runs an older version. The body must be large
// enough to be traded by the shard: larger than swarm.WholeLimit.
func Body(cfg world.Config, b BodyRun) (*measure.BodyReport, error) {
	if cfg.BodyBytes <= swarm.WholeLimit {
		return nil, fmt.Errorf("%w: a body of %d bytes is fetched in one piece; the body must be larger than %d bytes",
			world.ErrInvalid, cfg.BodyBytes, swarm.WholeLimit)
	}
	spread := spreadByMesh
	if b.Swarm {
		spread = spreadRarestFirst
	}
	r, err := spread(cfg, b)
	if err != nil {
		return nil, err
	}
	r.Arrangement, r.Condition = b.name(), b.condition()
	return r, nil
}

// spreadByMesh spreads the body with mesh nodes.
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
