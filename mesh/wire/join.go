package wire

// Join asks a coordinator for a place in its tree.
type Join struct {
	// Index is the agent's former index, plus one; 0 for a new agent.
	Index uint32 `cbor:"1,keyasint,omitempty"`
	// Avoid names the parents that the agent left or lost lately; at most MaxAvoid.
	Avoid []string `cbor:"2,keyasint,omitempty"`
	Description
	// Accuse names the parent that the agent left for a fault: withheld announcements, damaged
	// bodies, or a loop; empty for none.
	Accuse string `cbor:"7,keyasint,omitempty"`
}

func (*Join) tag() byte { return 1 }

func (m *Join) validate() error {
	if err := checkLength("join: parents to avoid", len(m.Avoid), MaxAvoid); err != nil {
		return err
	}
	if err := checkNames("join: parent to avoid", MaxAddress, m.Avoid...); err != nil {
		return err
	}
	if err := checkNames("join: accused parent", MaxAddress, m.Accuse); err != nil {
		return err
	}
	return m.Description.validate()
}

// Placement answers a Join with a place in the tree.
type Placement struct {
	Index uint32 `cbor:"1,keyasint"`
	// Parent is the parent to attach to. An empty location stands for the sender.
	Parent Location `cbor:"2,keyasint"`
	// Backups are the nodes to try, in this order, when the parent is lost. An empty
	// location stands for the sender. There are at most MaxBackups.
	Backups []Location `cbor:"3,keyasint,omitempty"`
	// Gossip lists addresses of the region's gossip pool; empty if the agent stays out of the pool.
	Gossip []string `cbor:"4,keyasint,omitempty"`
}

func (*Placement) tag() byte { return 2 }

func (m *Placement) validate() error {
	if err := validateLocations("placement: backups", m.Backups, MaxBackups); err != nil {
		return err
	}
	if err := validateLocations("placement: parent", []Location{m.Parent}, 1); err != nil {
		return err
	}
	if err := checkLength("placement: gossip addresses", len(m.Gossip), MaxBackups); err != nil {
		return err
	}
	return checkNames("placement: gossip address", MaxAddress, m.Gossip...)
}

// Rejected refuses a Join or an Attach.
type Rejected struct {
	Reason string `cbor:"1,keyasint"`
	// After is the time in milliseconds to wait before the next Join, which comes over the same link; 0
	// leaves the time to the sender of the Join, which hangs up.
	After uint32 `cbor:"2,keyasint,omitempty"`
	// HangUp asks the sender of the Join to hang up while it waits.
	HangUp bool `cbor:"3,keyasint,omitempty"`
}

func (*Rejected) tag() byte { return 5 }

func (m *Rejected) validate() error {
	return checkNames("rejection: reason", MaxReason, m.Reason)
}
