package record

import "fmt"

// Geometry says how a form is cut: into stripes of Data shards of ShardBytes
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

// PerStripe is the number of shards of a stripe, parity among them.
func (g Geometry) PerStripe() int { return int(g.Data) + int(g.Parity) }

// Shards is the number of shards that size bytes make, parity among them.
func (g Geometry) Shards(size int64) int { return int(g.Stripes(size)) * g.PerStripe() }

// IsPadding tells whether shard n holds nothing of size bytes: a data shard of the last
// stripe that lies behind the end, and is all zero.
func (g Geometry) IsPadding(size int64, n int) bool {
	stripe, i := n/g.PerStripe(), n%g.PerStripe()
	return i < int(g.Data) && (int64(stripe)*int64(g.Data)+int64(i))*int64(g.ShardBytes) >= size
}

// Validate reports a geometry that size bytes could not, or must not, be cut by.
func (g Geometry) Validate(size int64) error {
	if g.Data == 0 || g.ShardBytes == 0 || g.PerStripe() > MaxShards || g.ShardBytes > MaxShardBytes {
		return fmt.Errorf("%w: geometry of %d+%d shards of %d bytes", ErrInvalid, g.Data, g.Parity, g.ShardBytes)
	}
	if stripes := g.Stripes(size); stripes*int64(g.PerStripe()) > MaxIndex {
		return fmt.Errorf("%w: geometry of %d+%d shards of %d bytes cuts %d bytes into more than %d shards", ErrInvalid, g.Data, g.Parity, g.ShardBytes, size, MaxIndex)
	}
	return nil
}

// Form is one way in which a body travels and is stored: encoded, and cut into
// shards. A version's first form needs nothing else; one with a base needs the
// body of an older version.
type Form struct {
	Encoding    string   `cbor:"1,keyasint" json:"encoding"`
	Base        uint64   `cbor:"2,keyasint" json:"base"`         // the version it is a delta to; 0: none
	Size        int64    `cbor:"3,keyasint" json:"size"`         // encoded
	SHA256      Digest   `cbor:"4,keyasint" json:"sha256"`       // of the encoded bytes
	Geometry    Geometry `cbor:"5,keyasint" json:"geometry"`     // of the encoded bytes
	IndexSHA256 Digest   `cbor:"6,keyasint" json:"index_sha256"` // of the shard index
}

// Encodings of a Form.
const (
	// EncodingIdentity marks a body that travels as it was published.
	EncodingIdentity = "identity"
	// EncodingZstd marks one compressed with Zstandard (RFC 8878); in a form with a
	// base, the base's body is the raw-content dictionary.
	EncodingZstd = "zstd"
)

func (f Form) validate(m *Manifest) error {
	switch {
	case f.Size < 0 || f.Size > MaxBody:
		return fmt.Errorf("%w: a form of %d bytes, the limit is %d", ErrInvalid, f.Size, MaxBody)
	case f.Encoding == EncodingIdentity && (f.Size != m.BodySize || f.SHA256 != m.BodySHA256 || f.Base != 0):
		return fmt.Errorf("%w: the form as published differs from the body", ErrInvalid)
	case f.Encoding != EncodingIdentity && f.Encoding != EncodingZstd:
		return fmt.Errorf("%w: unknown encoding %q", ErrInvalid, f.Encoding)
	case f.Base >= m.Version:
		return fmt.Errorf("%w: a form whose base, version %d, is not older", ErrInvalid, f.Base)
	case f.Base != 0 && m.BodySize > MaxDelta:
		return fmt.Errorf("%w: a delta for a body of %d bytes, the limit is %d", ErrInvalid, m.BodySize, MaxDelta)
	}
	return f.Geometry.Validate(f.Size)
}
