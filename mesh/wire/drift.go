package wire

import "banyan/record"

// DriftState is the state of a file that differs, or differed, from the applied version.
type DriftState uint8

// The states of drift.
const (
	// DriftSeen: the file differs.
	DriftSeen DriftState = 1
	// DriftRepaired: the file differed, and the agent shows a verified version instead. That may
	// be another version.
	DriftRepaired DriftState = 2
	// DriftGone: the file differed, and somebody else restored the file.
	DriftGone DriftState = 3
)

// Drift reports to the coordinators that somebody other than the agent changed the
// file of a config on a host.
type Drift struct {
	Agent  uint32 `cbor:"1,keyasint"`
	Name   string `cbor:"2,keyasint"`
	Config string `cbor:"3,keyasint"`
	// Version is the applied version.
	Version uint64     `cbor:"4,keyasint"`
	State   DriftState `cbor:"5,keyasint"`
	Region  string     `cbor:"6,keyasint"`
}

func (*Drift) tag() byte { return 23 }

func (m *Drift) validate() error {
	if err := checkNames("drift: name of an agent", MaxAddress, m.Name); err != nil {
		return err
	}
	if err := checkNames("drift: config name", record.MaxConfigName, m.Config); err != nil {
		return err
	}
	return checkNames("drift: region name", record.MaxRegionName, m.Region)
}
