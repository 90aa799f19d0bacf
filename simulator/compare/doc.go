// Package compare does the work of Banyan in other ways, on the same virtual fleet.
//
// Entry points: [Strategies] compares the tree with a star, polling and gossip; [Body]
// spreads one large body by one of [BodyRuns], a BitTorrent swarm among them.
//
// The rivals are small programs over the machines and the network of package world. No
// failure of a rival is simulated, which favours the rivals.
package compare
