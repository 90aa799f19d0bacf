package wire

import (
	"fmt"
	"slices"
)

// Brood reports the children of the sender to its parent.
type Brood struct {
	Members []Location `cbor:"1,keyasint"`
}

func (*Brood) tag() byte { return 18 }

func (m *Brood) validate() error { return validateLocations("brood", m.Members, MaxChildren) }

// Circle assigns an agent to a circle: a group of agents that exchange the shards of a
// body with each other. Package mesh/tree says how circles feed each other.
type Circle struct {
	// Members are the agents of the circle, sorted by name.
	Members []Location `cbor:"1,keyasint"`
	// Feeders are the nodes that send shards into the circle, sorted by name.
	Feeders []Location `cbor:"2,keyasint"`
	// Feeds is the number of circles fed by this circle.
	Feeds uint8 `cbor:"3,keyasint"`
}

func (*Circle) tag() byte { return 19 }

func (m *Circle) validate() error {
	if err := validateLocations("circle", m.Members, MaxChildren); err != nil {
		return err
	}
	return validateLocations("feeders", m.Feeders, MaxChildren)
}

// Has reports whether the node with the given name is a member.
func (m *Circle) Has(name string) bool { return m.Position(name) >= 0 }

// Position returns the position of a member by name; -1 if there is no such member.
func (m *Circle) Position(name string) int {
	return slices.IndexFunc(m.Members, func(l Location) bool { return l.Name == name })
}

// Equal reports whether both circles have the same content. Nil equals nil alone.
func (m *Circle) Equal(o *Circle) bool {
	if m == o {
		return true
	}
	if m == nil || o == nil {
		return false
	}
	return m.Feeds == o.Feeds && slices.Equal(m.Members, o.Members) && slices.Equal(m.Feeders, o.Feeders)
}

// Circles informs a relay of the circles of its children.
type Circles struct {
	Below []*Circle `cbor:"1,keyasint"`
}

func (*Circles) tag() byte { return 20 }

func (m *Circles) validate() error {
	if err := checkLength("circles", len(m.Below), MaxCircles); err != nil {
		return err
	}
	for _, c := range m.Below {
		if c == nil {
			return fmt.Errorf("%w: an empty circle", ErrMalformed)
		}
		if err := c.validate(); err != nil {
			return err
		}
	}
	return nil
}
