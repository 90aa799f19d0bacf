package wire

// Attach asks a node to become the sender's parent, and to send the pointers that
// changed after the revision Since.
type Attach struct {
	Index uint32 `cbor:"1,keyasint"`
	Since uint64 `cbor:"2,keyasint"`
	Description
	// Children is the number of children that the sender has now.
	Children uint32 `cbor:"7,keyasint,omitempty"`
}

func (*Attach) tag() byte { return 3 }

func (m *Attach) validate() error { return m.Description.validate() }

// Attached accepts a child. A parent sends Attached again when the path to the root changes.
type Attached struct {
	// Path lists the indices of the agents between the root and the child, the topmost first.
	Path []uint32 `cbor:"1,keyasint,omitempty"`
}

func (*Attached) tag() byte { return 4 }

func (m *Attached) validate() error {
	return checkLength("path: hops", len(m.Path), MaxPath)
}

// Member is the description of an agent by its parent, for the planner.
type Member struct {
	Index uint32 `cbor:"1,keyasint"`
	Name  string `cbor:"2,keyasint"`
	Description
	// Children is the agent's number of children at the time of attaching; 0 in
	// answers to a roll call.
	Children uint32 `cbor:"7,keyasint,omitempty"`
}

func (m *Member) validate() error {
	if err := checkNames("member: name", MaxAddress, m.Name); err != nil {
		return err
	}
	return m.Description.validate()
}

// Adopted reports to the planner that agents became children of an agent.
type Adopted struct {
	// Parent is the index of the agent that adopted the members.
	Parent uint32 `cbor:"1,keyasint"`
	// Members are the adopted agents; at most MaxMembers.
	Members []Member `cbor:"2,keyasint"`
}

func (*Adopted) tag() byte { return 13 }

func (m *Adopted) validate() error {
	if err := checkLength("adopted agents", len(m.Members), MaxMembers); err != nil {
		return err
	}
	for i := range m.Members {
		if err := m.Members[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

// Gone reports to the planner that agents are no longer children of an agent.
type Gone struct {
	// Parent is the index of the agent that lost the children.
	Parent uint32   `cbor:"1,keyasint"`
	Agents []uint32 `cbor:"2,keyasint"`
}

func (*Gone) tag() byte { return 9 }

func (m *Gone) validate() error { return checkLength("agents gone", len(m.Agents), MaxChildren) }

// RollCall asks agents of a subtree to report to the planner. A coordinator sends RollCall when the
// planner does not know all agents of the subtree, or has not heard of them for long.
type RollCall struct {
	// Of are the indices of the agents to describe. The parent of such an agent reports it with an
	// Adopted, and so does each agent below it with its own children. At most MaxRollCall.
	Of []uint32 `cbor:"1,keyasint,omitempty"`
	// All asks every agent that receives the message to report its children with an Adopted.
	All bool `cbor:"2,keyasint,omitempty"`
	// List are the indices of agents that list their children with a Families now, even if they have
	// none. At most MaxRollCall.
	List []uint32 `cbor:"3,keyasint,omitempty"`
}

func (*RollCall) tag() byte { return 14 }

func (m *RollCall) validate() error {
	if err := checkLength("roll call: agents to describe", len(m.Of), MaxRollCall); err != nil {
		return err
	}
	return checkLength("roll call: agents to list children", len(m.List), MaxRollCall)
}

// Families reports to the planner which agents are whose children. A relay with children sends
// its own list from time to time, together with lists from below. Adopted and Gone, which
// report single changes, can be lost with a link; Families makes up for that.
type Families struct {
	// Families are the lists; at most MaxFamilies.
	Families []Family `cbor:"1,keyasint"`
}

// Family lists the children of an agent.
type Family struct {
	// Parent is the index of the agent.
	Parent uint32 `cbor:"1,keyasint"`
	// Children are the indices of the agent's children; at most MaxChildren.
	Children []uint32 `cbor:"2,keyasint,omitempty"`
}

func (*Families) tag() byte { return 28 }

func (m *Families) validate() error {
	if err := checkLength("families", len(m.Families), MaxFamilies); err != nil {
		return err
	}
	for _, f := range m.Families {
		if err := checkLength("family: children", len(f.Children), MaxChildren); err != nil {
			return err
		}
	}
	return nil
}

// Displaced tells a subtree that several agents have one index, as can be after the coordinator's
// store was restored from an older copy. Every agent with the index gives it up, and joins again.
type Displaced struct {
	Index uint32 `cbor:"1,keyasint"`
}

func (*Displaced) tag() byte { return 29 }

func (*Displaced) validate() error { return nil }

// Accusation reports to the planner that an agent left its parent for a fault: withheld
// announcements, damaged bodies, or a loop.
type Accusation struct {
	// Accuser is the index of the agent that left.
	Accuser uint32 `cbor:"1,keyasint"`
	// Name is the name of the accused parent.
	Name string `cbor:"2,keyasint"`
}

func (*Accusation) tag() byte { return 17 }

func (m *Accusation) validate() error {
	return checkNames("accusation: name", MaxAddress, m.Name)
}
