package wire

import "banyan/record"

// Push carries a small version down the tree, right behind the announcement that names
// the version, so that no agent needs to ask for the version.
type Push struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
	// Manifest is the signed manifest.
	Manifest []byte `cbor:"3,keyasint"`
	// Body has at most MaxPush bytes.
	Body []byte `cbor:"4,keyasint"`
	// Digest is the digest of the manifest.
	Digest record.Digest `cbor:"5,keyasint"`
}

func (*Push) tag() byte { return 12 }

// Key returns the key of the version.
func (m *Push) Key() record.VersionKey {
	return record.VersionKey{Config: m.Config, Version: m.Version, Digest: m.Digest}
}

func (m *Push) validate() error {
	if err := checkLength("push: config name", len(m.Config), record.MaxConfigName); err != nil {
		return err
	}
	if err := checkLength("push: bytes of the manifest", len(m.Manifest), record.MaxManifest); err != nil {
		return err
	}
	return checkLength("push: bytes of the body", len(m.Body), MaxPush)
}

// Stored informs a following coordinator of a published version. The follower fetches
// the version at once, so that the version is at hand when a pointer names it.
type Stored struct {
	Config  string        `cbor:"1,keyasint"`
	Version uint64        `cbor:"2,keyasint"`
	Digest  record.Digest `cbor:"3,keyasint"` // of the manifest
}

func (*Stored) tag() byte { return 22 }

// Key returns the key of the version.
func (m *Stored) Key() record.VersionKey {
	return record.VersionKey{Config: m.Config, Version: m.Version, Digest: m.Digest}
}

func (m *Stored) validate() error {
	return checkLength("stored: config name", len(m.Config), record.MaxConfigName)
}
