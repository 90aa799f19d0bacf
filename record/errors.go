package record

import "errors"

// The ways a record is refused. Errors of this package wrap one of them.
var (
	// ErrInvalid: a field holds what it must not.
	ErrInvalid = errors.New("invalid record")
	// ErrTooLarge: the bytes exceed the limit for their kind.
	ErrTooLarge = errors.New("record too large")
	// ErrMalformed: the bytes are not the canonical encoding of a record of the kind asked for.
	ErrMalformed = errors.New("malformed record")
	// ErrUnknownKey: the key id is not in the policy for this kind of record.
	ErrUnknownKey = errors.New("unknown key")
	// ErrScope: the key is known and may not sign for this config or region.
	ErrScope = errors.New("outside the key's scope")
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("bad signature")
	// ErrChecksum: a body does not match its manifest.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrExpired: the trust policy is past its expiry.
	ErrExpired = errors.New("policy expired")
)

// reasons maps each refusal to the label that metrics and acknowledgements use.
var reasons = []struct {
	err    error
	reason string
}{
	{ErrTooLarge, "too_large"},
	{ErrMalformed, "malformed"},
	{ErrUnknownKey, "unknown_key"},
	{ErrScope, "scope"},
	{ErrSignature, "bad_signature"},
	{ErrChecksum, "checksum"},
	{ErrExpired, "policy_expired"},
	{ErrInvalid, "invalid"},
}

// Reason names the refusal err wraps, as a short stable label such as
// "bad_signature"; "other" if it wraps none of this package's.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "other"
}
