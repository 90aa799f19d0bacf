package tree

import (
	"slices"
	"strings"

	"banyan/mesh/wire"
)

// Arrange cuts agents into circles of about equal size, at most circleSize members each.
// The circles feed each other as a binary heap: the circle of rank 0 is fed by feeders,
// and the circle of rank r by the circle of rank (r-1)/2.
//
// Agents that stand next to each other in the list are near each other. Of two
// neighbouring circles, the second gets a rank in the lower half of the heap, whose
// circles feed no other: so there is a circle with spare uploads near every agent, for
// the next level of the tree. Example: 5 circles get the ranks 0, 3, 1, 4, 2.
//
// Package mesh/swarm says what circles are for.
func Arrange(agents, feeders []wire.Location) []*wire.Circle {
	count := (len(agents) + circleSize - 1) / circleSize
	made := make([]*wire.Circle, count)
	byRank := make([]*wire.Circle, count)
	for i := range made {
		members := slices.Clone(agents[i*len(agents)/count : (i+1)*len(agents)/count])
		slices.SortFunc(members, func(a, b wire.Location) int { return strings.Compare(a.Name, b.Name) })
		made[i] = &wire.Circle{Members: members, Feeders: feeders}
		rank := (i%2)*((count+1)/2) + i/2
		byRank[rank] = made[i]
	}
	for r, c := range byRank[min(1, count):] {
		feeder := byRank[r/2] // c has rank r+1
		c.Feeders = feeder.Members
		feeder.Feeds++
	}
	return made
}

// Idlest returns the circle that feeds the fewest other circles. There must be a circle.
func Idlest(circles []*wire.Circle) *wire.Circle {
	return slices.MinFunc(circles, func(a, b *wire.Circle) int { return int(a.Feeds) - int(b.Feeds) })
}
