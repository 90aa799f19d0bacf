package record

import "errors"

// Reasons to refuse a record. Errors of this package wrap one of them.
var (
	// ErrInvalid is wrapped if a field of a record has a value that is not allowed.
	ErrInvalid = errors.New("invalid record")
	// ErrTooLarge is wrapped if a record or a body exceeds the limit.
	ErrTooLarge = errors.New("record too large")
	// ErrMalformed is wrapped if bytes are not the canonical encoding of a record of the
	// expected kind.
	ErrMalformed = errors.New("malformed record")
	// ErrUnknownKey is wrapped if the policy does not list the key for this kind of record.
	ErrUnknownKey = errors.New("unknown key")
	// ErrScope is wrapped if the policy does not let the key sign for this config or region.
	ErrScope = errors.New("outside the key's scope")
	// ErrSignature is wrapped if the signature does not verify.
	ErrSignature = errors.New("bad signature")
	// ErrChecksum is wrapped if a body, a form, a shard or an index does not match the
	// manifest.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrExpired is wrapped if the trust policy has expired.
	ErrExpired = errors.New("policy expired")
)

// reasons maps each refusal to the label in metrics and acknowledgements.
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

// Reason returns the label of the refusal wrapped by err, for example "bad_signature". The label
// is stable. Reason returns "other" if err wraps no error of this package.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "other"
}
