package wire

import "banyan/record"

// Survey asks every agent of a subtree what the agent holds of a version. Relays merge
// the answers on the way up. A newer survey replaces an older one.
type Survey struct {
	ID      uint64        `cbor:"1,keyasint"`
	Config  string        `cbor:"2,keyasint"`
	Version uint64        `cbor:"3,keyasint"`
	Digest  record.Digest `cbor:"4,keyasint"` // of the manifest
}

func (*Survey) tag() byte { return 25 }

// Key returns the key of the version.
func (m *Survey) Key() record.VersionKey {
	return record.VersionKey{Config: m.Config, Version: m.Version, Digest: m.Digest}
}

func (m *Survey) validate() error {
	return checkNames("survey: config name", record.MaxConfigName, m.Config)
}

// Holdings answers a Survey for agents of one region.
type Holdings struct {
	ID     uint64 `cbor:"1,keyasint"`
	Region string `cbor:"2,keyasint"`
	// Held has at most MaxHoldings entries.
	Held []Holding `cbor:"3,keyasint"`
}

func (*Holdings) tag() byte { return 26 }

func (m *Holdings) validate() error {
	if err := checkLength("holdings", len(m.Held), MaxHoldings); err != nil {
		return err
	}
	if err := checkNames("holdings: region name", record.MaxRegionName, m.Region); err != nil {
		return err
	}
	for i := range m.Held {
		if err := checkNames("holdings: name of an agent", MaxAddress, m.Held[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// Holding describes an agent's part of a version. An agent with shards of several
// forms has one Holding for each form. An agent without any shard has one Holding for
// the version.
type Holding struct {
	Agent uint32 `cbor:"1,keyasint"`
	Name  string `cbor:"2,keyasint"`
	// Whole reports that the agent has the verified body.
	Whole bool  `cbor:"3,keyasint,omitempty"`
	Form  uint8 `cbor:"4,keyasint,omitempty"`
	// Shards is the number of shards of the form that the agent has.
	Shards uint32 `cbor:"5,keyasint,omitempty"`
	// Of is the number of data shards of the form.
	Of uint32 `cbor:"6,keyasint,omitempty"`
	// Cached reports that the agent keeps the shards for other agents only.
	Cached bool `cbor:"7,keyasint,omitempty"`
}
