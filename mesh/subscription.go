package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"banyan/record"
)

// Subscriptions are the scopes, as record.InScope reads them, of the configs that an
// agent applies, with a space between. Empty, which is what one says that says nothing
// of it, stands for all configs; one that only relays has SubscribeNothing.
//
// An agent hears of every pointer, whatever it subscribes to, keeps it and passes it on:
// the head tells of all, and children may want what it does not.
type Subscriptions string

// SubscribeNothing are the subscriptions of a relay that applies no config.
const SubscribeNothing Subscriptions = "-"

// Subscribe makes Subscriptions to certain scopes, which may end in a slash.
func Subscribe(scopes ...string) Subscriptions {
	if len(scopes) == 0 {
		return SubscribeNothing
	}
	var names []string
	for _, s := range scopes {
		names = append(names, strings.TrimSuffix(s, "/"))
	}
	slices.Sort(names)
	return Subscriptions(strings.Join(slices.Compact(names), " "))
}

// Include tells whether a config is among those subscribed to.
func (s Subscriptions) Include(config string) bool {
	if s == "" {
		return true
	}
	for scope := range strings.SplitSeq(string(s), " ") {
		if record.InScope(config, scope) {
			return true
		}
	}
	return false
}

// Scopes lists them; nil for all configs.
func (s Subscriptions) Scopes() []string {
	switch s {
	case "":
		return nil
	case SubscribeNothing:
		return []string{}
	}
	return strings.Split(string(s), " ")
}

// Validate reports what is wrong with them: a scope that is none, or too much of it.
func (s Subscriptions) Validate() error {
	if len(s) > MaxSubscriptions {
		return fmt.Errorf("%w: subscriptions of %d bytes, the limit is %d; subscribe to a config above some of them", record.ErrInvalid, len(s), MaxSubscriptions)
	}
	for _, scope := range s.Scopes() {
		if err := record.ValidateScope(scope); err != nil {
			return err
		}
	}
	return nil
}

func (s Subscriptions) validate() error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%w: %s", ErrMalformed, err)
	}
	return nil
}

// subscribes tells whether the node applies a config, rather than passing it on alone. A
// coordinator that follows mirrors all of them.
func (n *Node) subscribes(config string) bool {
	return !n.isRoot() && n.cfg.Subscriptions.Include(config)
}

// Audience is how many agents have the same subscriptions.
type Audience struct {
	Subscriptions Subscriptions `cbor:"1,keyasint" json:"subscriptions"`
	Agents        uint32        `cbor:"2,keyasint" json:"agents"`
}

// audiences counts agents by what they subscribe to, leaving out those that subscribe to
// everything: the largest MaxAudiences. Those beyond count as if they did too, so that
// a rollout waits for some in vain rather than for too few.
func (p *Planner) audiences() []Audience {
	counts := map[string]uint32{}
	for _, a := range p.places {
		if a.parent != nil && !a.gone && a.subscriptions != "" {
			counts[string(a.subscriptions)]++
		}
	}
	var all []Audience
	for s, n := range mostFrequent(counts, MaxAudiences) {
		all = append(all, Audience{Subscriptions(s), n})
	}
	slices.SortFunc(all, func(a, b Audience) int { return cmp.Compare(a.Subscriptions, b.Subscriptions) })
	return all
}

// Subscribers is how many of so many agents subscribe to a config, given what those
// subscribe to that do not subscribe to everything.
func Subscribers(agents int, audiences []Audience, config string) int {
	for _, a := range audiences {
		if !a.Subscriptions.Include(config) {
			agents -= int(a.Agents)
		}
	}
	return max(agents, 0)
}

// Subscribers is how many of the agents that a census counts subscribe to a config.
func (c *Census) Subscribers(config string) int {
	return Subscribers(int(c.Agents), c.Audiences, config)
}

// audience is what Quarantined.Audience says of an agent with certain subscriptions.
func (c *Census) audience(s Subscriptions) uint32 {
	return uint32(slices.IndexFunc(c.Audiences, func(a Audience) bool { return a.Subscriptions == s }) + 1)
}

// subscribes tells whether an agent in quarantine is one of them.
func (c *Census) subscribes(q Quarantined, config string) bool {
	return q.Audience == 0 || int(q.Audience) > len(c.Audiences) || c.Audiences[q.Audience-1].Subscriptions.Include(config)
}
