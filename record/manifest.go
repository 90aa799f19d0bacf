package record

import (
	"fmt"
	"unicode/utf8"
)

// Manifest describes one immutable version of a config. A publisher signs the manifest.
type Manifest struct {
	Config      string `cbor:"1,keyasint" json:"config"`
	Version     uint64 `cbor:"2,keyasint" json:"version"`
	Parent      uint64 `cbor:"3,keyasint" json:"parent"` // the edited version; 0: no parent
	BodySize    int64  `cbor:"4,keyasint" json:"body_size"`
	BodySHA256  Digest `cbor:"5,keyasint" json:"body_sha256"`
	Forms       []Form `cbor:"6,keyasint" json:"forms"` // 1 to MaxForms; the first has no base
	ContentType string `cbor:"7,keyasint" json:"content_type"`
	Message     string `cbor:"8,keyasint" json:"message"`
	TimeMillis  int64  `cbor:"9,keyasint" json:"time_ms"` // since the Unix epoch, by the publisher's clock
}

// Validate checks the fields of the manifest.
func (m Manifest) Validate() error {
	if err := ValidateConfig(m.Config); err != nil {
		return err
	}
	switch {
	case m.Version == 0:
		return fmt.Errorf("%w: manifest of %s: versions start at 1", ErrInvalid, m.Config)
	case m.Parent >= m.Version:
		return fmt.Errorf("%w: manifest of %s version %d: parent %d is not an older version",
			ErrInvalid, m.Config, m.Version, m.Parent)
	case m.BodySize < 0 || m.BodySize > MaxBody:
		return fmt.Errorf("%w: manifest of %s version %d: body of %d bytes, the limit is %d",
			ErrInvalid, m.Config, m.Version, m.BodySize, MaxBody)
	case len(m.Forms) == 0 || len(m.Forms) > MaxForms || !m.Forms[0].Base.IsZero():
		return fmt.Errorf("%w: manifest of %s version %d: 1 to %d forms are required, the first without a base",
			ErrInvalid, m.Config, m.Version, MaxForms)
	case len(m.ContentType) > MaxContentType || !utf8.ValidString(m.ContentType):
		return fmt.Errorf("%w: content type must be UTF-8 of at most %d bytes", ErrInvalid, MaxContentType)
	case len(m.Message) > MaxMessage || !utf8.ValidString(m.Message):
		return fmt.Errorf("%w: message must be UTF-8 of at most %d bytes", ErrInvalid, MaxMessage)
	}
	for _, f := range m.Forms {
		if err := f.validate(&m); err != nil {
			return fmt.Errorf("manifest of %s version %d: %w", m.Config, m.Version, err)
		}
	}
	return nil
}

// Digest returns the hash of the manifest's payload, which does not depend on the encoding of
// the envelope. Pointers name a version by this hash.
func (m Manifest) Digest() Digest { return Sum(must(canonical.Marshal(m))) }

// Key returns the key of the version.
func (m Manifest) Key() VersionKey { return m.Ref().Of(m.Config) }

// Ref returns the reference by which a pointer names the version.
func (m Manifest) Ref() Ref { return Ref{Version: m.Version, Digest: m.Digest()} }

// SignManifest validates m and signs m with a publisher key.
func SignManifest(m Manifest, key Key) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return seal(kindManifest, m, key)
}

// DecodeManifest decodes a signed manifest without verifying the signature, for bytes
// that were verified before they were stored.
func DecodeManifest(raw []byte) (Manifest, error) {
	var m Manifest
	return m, decodeUnverified(kindManifest, raw, &m)
}
