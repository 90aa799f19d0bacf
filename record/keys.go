package record

import "fmt"

// PointerKey identifies a pointer: each region has a pointer of its own for each config.
type PointerKey struct {
	Config string
	Region string
}

// Ref names a version of a config by its number and by its content: the digest of the
// manifest. Two versions may have the same number, if one of them is of a history of the store
// that was lost. They never have the same digest.
type Ref struct {
	Version uint64 `cbor:"1,keyasint" json:"version"`
	Digest  Digest `cbor:"2,keyasint" json:"manifest"`
}

// IsZero reports whether the reference names no version.
func (r Ref) IsZero() bool { return r == Ref{} }

// Of returns the key of the version of config.
func (r Ref) Of(config string) VersionKey {
	return VersionKey{Config: config, Version: r.Version, Digest: r.Digest}
}

// String describes the reference for logs: the number, and the start of the digest.
func (r Ref) String() string { return fmt.Sprintf("%d (%.8s)", r.Version, r.Digest) }

// VersionKey identifies a version of a config by number and content.
type VersionKey struct {
	Config  string
	Version uint64
	Digest  Digest // of the manifest
}

// Ref returns the version without the config.
func (k VersionKey) Ref() Ref { return Ref{Version: k.Version, Digest: k.Digest} }

// FormKey identifies a form of a version. Form is the position of the form in the
// manifest's list of forms.
type FormKey struct {
	VersionKey
	Form uint8
}
