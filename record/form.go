package record

import "fmt"

// Geometry describes how a form is cut into shards. A stripe has Data shards of ShardBytes
// bytes each, and Parity shards. The last stripe is padded with zeros.
//
// For example, with 10 data and 4 parity shards of 32 KiB, a form of 400 KiB has 2 stripes
// and 28 shards; the last 7 data shards of the second stripe are padding.
type Geometry struct {
	Data       uint16 `cbor:"1,keyasint" json:"data"`
	Parity     uint16 `cbor:"2,keyasint" json:"parity"`
	ShardBytes uint32 `cbor:"3,keyasint" json:"shard_bytes"`
}

// Stripes returns the number of stripes of a form of size bytes.
func (g Geometry) Stripes(size int64) int64 {
	stripe := int64(g.Data) * int64(g.ShardBytes)
	return (size + stripe - 1) / stripe
}

// PerStripe returns the number of shards of a stripe, data and parity.
func (g Geometry) PerStripe() int { return int(g.Data) + int(g.Parity) }

// Shards returns the number of shards of a form of size bytes, data and parity.
func (g Geometry) Shards(size int64) int { return int(g.Stripes(size)) * g.PerStripe() }

// IsPadding reports whether shard n of a form of size bytes is padding: a data shard of the
// last stripe behind the end of the form. The bytes are zero.
func (g Geometry) IsPadding(size int64, n int) bool {
	stripe, i := n/g.PerStripe(), n%g.PerStripe()
	return i < int(g.Data) && (int64(stripe)*int64(g.Data)+int64(i))*int64(g.ShardBytes) >= size
}

// Validate checks the geometry of a form of size bytes.
func (g Geometry) Validate(size int64) error {
	if g.Data == 0 || g.ShardBytes == 0 || g.PerStripe() > MaxShards || g.ShardBytes > MaxShardBytes {
		return fmt.Errorf("%w: geometry of %d+%d shards of %d bytes", ErrInvalid, g.Data, g.Parity, g.ShardBytes)
	}
	if stripes := g.Stripes(size); stripes*int64(g.PerStripe()) > MaxIndex {
		return fmt.Errorf("%w: geometry of %d+%d shards of %d bytes cuts %d bytes into more than %d shards",
			ErrInvalid, g.Data, g.Parity, g.ShardBytes, size, MaxIndex)
	}
	return nil
}

// Form describes an encoding of a body, cut into shards. The first form of a version has no
// base. A form with a base is a delta: decoding it needs the body of an older version.
type Form struct {
	Encoding string `cbor:"1,keyasint" json:"encoding"`
	// Base is the version to which the form is a delta; zero for none.
	Base Ref `cbor:"2,keyasint,omitzero" json:"base,omitzero"`
	// Size is the number of encoded bytes.
	Size int64 `cbor:"3,keyasint" json:"size"`
	// SHA256 is the hash of the encoded bytes.
	SHA256 Digest `cbor:"4,keyasint" json:"sha256"`
	// Geometry describes how the encoded bytes are cut into shards.
	Geometry Geometry `cbor:"5,keyasint" json:"geometry"`
	// IndexSHA256 is the hash of the shard index: the hashes of all shards.
	IndexSHA256 Digest `cbor:"6,keyasint" json:"index_sha256"`
}

// Encodings of a Form.
const (
	// EncodingIdentity is the encoding of a form whose bytes are the body.
	EncodingIdentity = "identity"
	// EncodingZstd is Zstandard compression (RFC 8878). In a form with a base, the body of
	// the base is the raw-content dictionary.
	EncodingZstd = "zstd"
)

// validate checks a form of m.
func (f Form) validate(m *Manifest) error {
	switch {
	case f.Size < 0 || f.Size > MaxBody:
		return fmt.Errorf("%w: a form of %d bytes, the limit is %d", ErrInvalid, f.Size, MaxBody)
	case f.Encoding == EncodingIdentity && (f.Size != m.BodySize || f.SHA256 != m.BodySHA256 || !f.Base.IsZero()):
		return fmt.Errorf("%w: the form with the identity encoding differs from the body", ErrInvalid)
	case f.Encoding != EncodingIdentity && f.Encoding != EncodingZstd:
		return fmt.Errorf("%w: unknown encoding %q", ErrInvalid, f.Encoding)
	case f.Base.Version >= m.Version || (f.Base.Version == 0) != (f.Base.Digest == Digest{}):
		return fmt.Errorf("%w: a form whose base, version %d, is not an older version with a digest",
			ErrInvalid, f.Base.Version)
	case !f.Base.IsZero() && m.BodySize > MaxDelta:
		return fmt.Errorf("%w: a delta for a body of %d bytes, the limit is %d", ErrInvalid, m.BodySize, MaxDelta)
	}
	return f.Geometry.Validate(f.Size)
}
