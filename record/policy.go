package record

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"
)

// PublisherEntry lists a key that may sign manifests.
type PublisherEntry struct {
	Name   string            `cbor:"1,keyasint" json:"name"`
	Public ed25519.PublicKey `cbor:"2,keyasint" json:"public"`
	Scopes []string          `cbor:"3,keyasint" json:"scopes"` // config prefixes; "*" is all
}

// ActivatorEntry lists a key that may sign pointers and heads.
type ActivatorEntry struct {
	Name    string            `cbor:"1,keyasint" json:"name"`
	Public  ed25519.PublicKey `cbor:"2,keyasint" json:"public"`
	Regions []string          `cbor:"3,keyasint" json:"regions"`
}

// PolicyDocument is the content of a trust policy. The root key signs it.
type PolicyDocument struct {
	Version    uint64           `cbor:"1,keyasint" json:"version"`
	ExpiresSec int64            `cbor:"2,keyasint" json:"expires_s"` // since the Unix epoch
	Publishers []PublisherEntry `cbor:"3,keyasint" json:"publishers"`
	Activators []ActivatorEntry `cbor:"4,keyasint" json:"activators"`
}

// Validate checks the sizes and the ids of the keys, the scopes and the regions.
func (d PolicyDocument) Validate() error {
	if d.Version == 0 {
		return fmt.Errorf("%w: policy versions start at 1", ErrInvalid)
	}
	seen := map[KeyID]string{}
	check := func(name string, pub ed25519.PublicKey) error {
		if len(pub) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: policy entry %q: public key of %d bytes", ErrInvalid, name, len(pub))
		}
		if other, ok := seen[IDOf(pub)]; ok {
			return fmt.Errorf("%w: policy entries %q and %q have the same key id", ErrInvalid, other, name)
		}
		seen[IDOf(pub)] = name
		return nil
	}
	for _, e := range d.Publishers {
		if err := check(e.Name, e.Public); err != nil {
			return err
		}
		for _, s := range e.Scopes {
			if err := ValidateScope(s); err != nil {
				return fmt.Errorf("publisher %q: %w", e.Name, err)
			}
		}
	}
	for _, e := range d.Activators {
		if err := check(e.Name, e.Public); err != nil {
			return err
		}
		for _, r := range e.Regions {
			if err := ValidateRegion(r); err != nil {
				return fmt.Errorf("activator %q: %w", e.Name, err)
			}
		}
	}
	return nil
}

// SignPolicy validates d and signs it with a root key.
func SignPolicy(d PolicyDocument, root Key) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return seal(kindPolicy, d, root)
}

// Policy is a verified trust policy. It verifies all other records. What it trusts never changes. It is
// safe for concurrent use.
type Policy struct {
	Document   PolicyDocument
	Raw        []byte
	publishers map[KeyID]PublisherEntry
	activators map[KeyID]ActivatorEntry
	roots      rootMemory
}

// OpenPolicy verifies a signed trust policy under one of the root keys. It refuses a policy
// that has expired at the time now.
func OpenPolicy(raw []byte, roots []ed25519.PublicKey, now time.Time) (*Policy, error) {
	e, err := open(kindPolicy, raw)
	if err != nil {
		return nil, fmt.Errorf("trust policy: %w", err)
	}
	i := slices.IndexFunc(roots, func(pub ed25519.PublicKey) bool { return IDOf(pub) == e.keyID })
	if i < 0 {
		return nil, fmt.Errorf("trust policy: %w: %s is not a root key", ErrUnknownKey, e.keyID)
	}
	p := &Policy{Raw: raw, publishers: map[KeyID]PublisherEntry{}, activators: map[KeyID]ActivatorEntry{}}
	if err := e.verify(roots[i], &p.Document); err != nil {
		return nil, fmt.Errorf("trust policy: %w", err)
	}
	if err := p.Document.Validate(); err != nil {
		return nil, fmt.Errorf("trust policy: %w", err)
	}
	if expires := time.Unix(p.Document.ExpiresSec, 0); now.After(expires) {
		return nil, fmt.Errorf("trust policy version %d: %w at %s",
			p.Document.Version, ErrExpired, expires.UTC().Format(time.RFC3339))
	}
	for _, entry := range p.Document.Publishers {
		p.publishers[IDOf(entry.Public)] = entry
	}
	for _, entry := range p.Document.Activators {
		p.activators[IDOf(entry.Public)] = entry
	}
	return p, nil
}

// VerifyManifest verifies a signed manifest: a publisher must have signed it whose scope
// covers the config. It returns the publisher too.
func (p *Policy) VerifyManifest(raw []byte) (Manifest, PublisherEntry, error) {
	var m Manifest
	e, err := open(kindManifest, raw)
	if err != nil {
		return m, PublisherEntry{}, fmt.Errorf("manifest: %w", err)
	}
	entry, ok := p.publishers[e.keyID]
	if !ok {
		return m, entry, fmt.Errorf("manifest: %w: %s is not a publisher's key in policy version %d",
			ErrUnknownKey, e.keyID, p.Document.Version)
	}
	if err := e.verify(entry.Public, &m); err != nil {
		return Manifest{}, entry, fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, entry, err
	}
	inScope := func(prefix string) bool { return InScope(m.Config, prefix) }
	if !slices.ContainsFunc(entry.Scopes, inScope) {
		return Manifest{}, entry, fmt.Errorf("manifest: %w: publisher %q (%s) may not sign for %s",
			ErrScope, entry.Name, e.keyID, m.Config)
	}
	return m, entry, nil
}

// VerifyManifestOf is VerifyManifest for a caller that has asked for a version. The manifest of
// another config or version, or another manifest of that version, is refused with ErrInvalid.
func (p *Policy) VerifyManifestOf(raw []byte, want VersionKey) (Manifest, error) {
	m, _, err := p.VerifyManifest(raw)
	if err != nil {
		return m, err
	}
	key := m.Key()
	switch {
	case key.Config != want.Config || key.Version != want.Version:
		return m, fmt.Errorf("%w: the manifest is of %s version %d, not of %s version %d",
			ErrInvalid, m.Config, m.Version, want.Config, want.Version)
	case key != want:
		return m, fmt.Errorf("%w: %s version %d is not the one that was asked for: its manifest has digest %s, not %s",
			ErrInvalid, m.Config, m.Version, key.Digest, want.Digest)
	}
	return m, nil
}

// VerifyVersion verifies the manifest of a version, and that body is the body which the
// manifest describes.
func (p *Policy) VerifyVersion(want VersionKey, manifest, body []byte) error {
	m, err := p.VerifyManifestOf(manifest, want)
	if err != nil {
		return err
	}
	if m.BodySize != int64(len(body)) || m.BodySHA256 != Sum(body) {
		return fmt.Errorf("body of %s version %d: %w", want.Config, want.Version, ErrChecksum)
	}
	return nil
}

// VerifyPointer verifies a signed pointer: an activation key of its region must have signed
// the pointer, or the batch that the pointer was taken out of.
func (p *Policy) VerifyPointer(raw []byte) (ptr Pointer, err error) {
	if isBatched(raw) {
		ptr, err = p.verifyBatched(raw)
	} else {
		ptr, err = p.verifySingle(raw)
	}
	if err != nil {
		return Pointer{}, fmt.Errorf("pointer: %w", err)
	}
	return ptr, nil
}

// verifySingle verifies a pointer that has a signature of its own.
func (p *Policy) verifySingle(raw []byte) (ptr Pointer, err error) {
	err = p.verifyActivation(kindPointer, raw, &ptr, func() string { return ptr.Region })
	if err != nil {
		return Pointer{}, err
	}
	return ptr, ptr.Validate()
}

// VerifyHead verifies a signed head: an activation key of its region must have signed it.
func (p *Policy) VerifyHead(raw []byte) (Head, error) {
	var h Head
	if err := p.verifyActivation(kindHead, raw, &h, func() string { return h.Region }); err != nil {
		return Head{}, fmt.Errorf("head: %w", err)
	}
	if h.Term == 0 || h.Term > MaxTerm {
		return Head{}, fmt.Errorf("%w: head of region %s: term %d is not in 1 to %d",
			ErrInvalid, h.Region, h.Term, uint64(MaxTerm))
	}
	if h.Number == 0 || h.Number > MaxEpoch {
		return Head{}, fmt.Errorf("%w: head of region %s: number %d is not in 1 to %d",
			ErrInvalid, h.Region, h.Number, uint64(MaxEpoch))
	}
	return h, nil
}

// verifyActivation verifies a record of kind k and decodes it into v. region returns the
// region of the decoded record.
func (p *Policy) verifyActivation(k kind, raw []byte, v any, region func() string) error {
	e, entry, err := p.openActivation(k, raw)
	if err != nil {
		return err
	}
	if err := e.verify(entry.Public, v); err != nil {
		return err
	}
	return p.checkRegion(e.keyID, region())
}

// openActivation parses a record of kind k and finds the activation key that is said to have signed it.
func (p *Policy) openActivation(k kind, raw []byte) (*envelope, ActivatorEntry, error) {
	e, err := open(k, raw)
	if err != nil {
		return nil, ActivatorEntry{}, err
	}
	entry, ok := p.activators[e.keyID]
	if !ok {
		return nil, entry, fmt.Errorf("%w: %s is not an activation key in policy version %d",
			ErrUnknownKey, e.keyID, p.Document.Version)
	}
	return e, entry, nil
}

// checkRegion returns an error if an activation key does not serve region.
func (p *Policy) checkRegion(key KeyID, region string) error {
	if entry := p.activators[key]; !slices.Contains(entry.Regions, region) {
		return fmt.Errorf("%w: activation key %q (%s) does not serve region %q", ErrScope, entry.Name, key, region)
	}
	return nil
}

// MayActivate reports whether key may sign pointers for region.
func (p *Policy) MayActivate(key KeyID, region string) bool {
	return slices.Contains(p.activators[key].Regions, region)
}

// MayPublish reports whether key may sign manifests for config.
func (p *Policy) MayPublish(key KeyID, config string) bool {
	return slices.ContainsFunc(p.publishers[key].Scopes, func(s string) bool { return InScope(config, s) })
}

// Regions returns the regions that have an activation key, in order.
func (p *Policy) Regions() []string {
	var regions []string
	for _, e := range p.Document.Activators {
		regions = append(regions, e.Regions...)
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}
