package rollout

import "banyan/mesh/wire"

// Size is the number of agents of a region, and what they subscribe to.
type Size struct {
	Agents int
	// Audiences are the subscriptions of the agents that do not subscribe to everything.
	Audiences []wire.Audience
}

// Subscribers returns the number of agents that subscribe to config.
func (s Size) Subscribers(config string) int {
	return wire.Subscribers(s.Agents, s.Audiences, config)
}

// Hosts returns the number of agents that subscribe to any config: those that do not only relay.
func (s Size) Hosts() int {
	hosts := s.Agents
	for _, a := range s.Audiences {
		if a.Subscriptions == wire.SubscribeNothing {
			hosts -= int(a.Agents)
		}
	}
	return max(hosts, 0)
}
