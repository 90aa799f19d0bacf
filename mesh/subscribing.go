package mesh

// subscribes tells whether the node applies a config, rather than passing it on alone. A
// coordinator that follows mirrors all of them.
func (n *Node) subscribes(config string) bool {
	return !n.isRoot() && n.cfg.Subscriptions.Include(config)
}
