package swarm

import (
	"slices"

	"banyan/mesh/wire"
)

// duty returns which of t members of a circle has the duty to fetch the shard with the
// given ordinal. The golden-ratio sequence of the ordinals is spread evenly over an
// interval, and each member has one part of the interval. So the shards of one member are
// far apart, and a member of a circle of another size shares duties with two or three
// members of this circle, not with all.
//
// Source: Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, §6.4).
func duty(ordinal, t int) int {
	const golden = 2654435769 // 2^32 divided by the golden ratio
	return int(uint64(uint32(ordinal)*golden) * uint64(t) >> 32)
}

// candidate returns the i-th of the nodes to ask for the shard with the given ordinal.
// The first is the node that has the duty. The others follow in an order that spreads
// the shards of one node over all other nodes.
func candidate(among []wire.Location, ordinal, i int) wire.Location {
	t := len(among)
	owner := duty(ordinal, t)
	if i == 0 || t == 1 {
		return among[owner]
	}
	return among[(owner+1+(ordinal+i-1)%(t-1))%t]
}

// subscribersOf returns the locations whose nodes subscribe to config. If no node
// subscribes, the shards come down the tree: the links of the tree are up, and the tree
// is not as deep as the circles are.
func subscribersOf(among []wire.Location, config string) []wire.Location {
	idle := func(l wire.Location) bool { return !l.Subscriptions.Include(config) }
	if !slices.ContainsFunc(among, idle) {
		return among
	}
	return slices.DeleteFunc(slices.Clone(among), idle)
}
