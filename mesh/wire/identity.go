package wire

// Role is the kind of a node, as stated by the certificate of the node.
type Role uint8

// The roles of nodes.
const (
	RoleAgent       Role = 1
	RoleCoordinator Role = 2
)

// Identity is the authenticated identity of a peer.
type Identity struct {
	Role   Role
	Region string
	Name   string
}

// Description is what an agent says about itself when the agent joins or attaches.
type Description struct {
	// Addr is the agent's listening address, for other nodes to dial.
	Addr string `cbor:"3,keyasint,omitempty"`
	// Relay reports whether the agent may have children.
	Relay bool `cbor:"4,keyasint,omitempty"`
	// Capacity is the number of children that the agent takes; 0 leaves the number to the planner.
	Capacity uint32 `cbor:"5,keyasint,omitempty"`
	// Labels select agents for waves. The label ZoneLabel names the zone of the agent.
	Labels map[string]string `cbor:"6,keyasint,omitempty"`
	// Subscriptions select the configs that the agent applies.
	Subscriptions Subscriptions `cbor:"8,keyasint,omitempty"`
	// Instance is a random number that each start of the agent's process draws; 0 if unknown. Two
	// live instances of one identity are two hosts with the same keys.
	Instance uint64 `cbor:"9,keyasint,omitempty"`
}

// ZoneLabel is the label whose value is the zone of an agent.
const ZoneLabel = "zone"

func (d *Description) validate() error {
	if err := checkNames("address", MaxAddress, d.Addr); err != nil {
		return err
	}
	if err := checkLength("labels", len(d.Labels), MaxLabels); err != nil {
		return err
	}
	for key, value := range d.Labels {
		if err := checkNames("label", MaxLabelBytes, key, value); err != nil {
			return err
		}
	}
	return d.Subscriptions.validate()
}

// Location says how to reach a node.
type Location struct {
	Name string `cbor:"1,keyasint"`
	Addr string `cbor:"2,keyasint"`
	// Subscriptions are set only where shards are exchanged.
	Subscriptions Subscriptions `cbor:"3,keyasint,omitempty"`
}

func validateLocations(what string, locations []Location, limit int) error {
	if err := checkLength(what, len(locations), limit); err != nil {
		return err
	}
	for _, l := range locations {
		if err := checkNames(what+": name or address", MaxAddress, l.Name, l.Addr); err != nil {
			return err
		}
		if err := l.Subscriptions.validate(); err != nil {
			return err
		}
	}
	return nil
}
