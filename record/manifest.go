package record

import (
	"fmt"
	"unicode/utf8"
)

// Geometry says how a body is cut: into stripes of Data shards of ShardBytes
// each, to which Parity shards are added. The last stripe is padded with zeros.
type Geometry struct {
	Data       uint16 `cbor:"1,keyasint" json:"data"`
	Parity     uint16 `cbor:"2,keyasint" json:"parity"`
	ShardBytes uint32 `cbor:"3,keyasint" json:"shard_bytes"`
}

// Stripes is the number of stripes that size bytes make.
func (g Geometry) Stripes(size int64) int64 {
	stripe := int64(g.Data) * int64(g.ShardBytes)
	return (size + stripe - 1) / stripe
}

// Validate reports a geometry that nothing could be cut by.
func (g Geometry) Validate() error {
	if g.Data == 0 || g.ShardBytes == 0 || int(g.Data)+int(g.Parity) > MaxShards || g.ShardBytes > MaxBody {
		return fmt.Errorf("%w: geometry of %d+%d shards of %d bytes", ErrInvalid, g.Data, g.Parity, g.ShardBytes)
	}
	return nil
}

// Manifest describes one immutable version of a config. A publisher signs it.
type Manifest struct {
	Config      string   `cbor:"1,keyasint" json:"config"`
	Version     uint64   `cbor:"2,keyasint" json:"version"`
	Parent      uint64   `cbor:"3,keyasint" json:"parent"` // the version it was made from; 0 for none
	BodySize    int64    `cbor:"4,keyasint" json:"body_size"`
	BodySHA256  Digest   `cbor:"5,keyasint" json:"body_sha256"`
	Encoding    string   `cbor:"6,keyasint" json:"encoding"` // "identity": the body as published
	Geometry    Geometry `cbor:"7,keyasint" json:"geometry"`
	IndexSHA256 Digest   `cbor:"8,keyasint" json:"index_sha256"` // of the shard index
	ContentType string   `cbor:"9,keyasint" json:"content_type"`
	Message     string   `cbor:"10,keyasint" json:"message"`
	TimeMillis  int64    `cbor:"11,keyasint" json:"time_ms"` // since the Unix epoch, by the publisher's clock
}

// EncodingIdentity marks a body that is stored as it was published.
const EncodingIdentity = "identity"

// Validate reports the first field that holds what it must not.
func (m Manifest) Validate() error {
	if err := ValidateConfig(m.Config); err != nil {
		return err
	}
	switch {
	case m.Version == 0:
		return fmt.Errorf("%w: manifest of %s: versions start at 1", ErrInvalid, m.Config)
	case m.Parent >= m.Version:
		return fmt.Errorf("%w: manifest of %s version %d: parent %d is not older", ErrInvalid, m.Config, m.Version, m.Parent)
	case m.BodySize < 0 || m.BodySize > MaxBody:
		return fmt.Errorf("%w: manifest of %s version %d: body of %d bytes, the limit is %d", ErrInvalid, m.Config, m.Version, m.BodySize, MaxBody)
	case m.Encoding != EncodingIdentity:
		return fmt.Errorf("%w: manifest of %s version %d: unknown encoding %q", ErrInvalid, m.Config, m.Version, m.Encoding)
	case len(m.ContentType) > MaxContentType || !utf8.ValidString(m.ContentType):
		return fmt.Errorf("%w: content type must be UTF-8 of at most %d bytes", ErrInvalid, MaxContentType)
	case len(m.Message) > MaxMessage || !utf8.ValidString(m.Message):
		return fmt.Errorf("%w: message must be UTF-8 of at most %d bytes", ErrInvalid, MaxMessage)
	}
	return m.Geometry.Validate()
}

// SignManifest validates m and signs it with a publisher key.
func SignManifest(m Manifest, key Key) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return seal(kindManifest, m, key)
}

// DecodeManifest reads a signed manifest without verifying it: for bytes that
// were verified before they were stored.
func DecodeManifest(raw []byte) (Manifest, error) {
	var m Manifest
	return m, decodeUnverified(kindManifest, raw, &m)
}
