// Package record has the signed records of Banyan: the manifest of a version, the pointer
// that activates a version, the head that proves freshness, and the trust policy, which says
// which key may sign which record.
//
// Entry points: [SignManifest], [SignPointer], [SignHead] and [SignPolicy] make
// records; a [Policy], opened with [OpenPolicy], verifies them. [SignBatch] signs many pointers at once.
//
// Data flow:
//
//	struct ──canonical CBOR──► payload ──COSE_Sign1, Ed25519──► bytes on the wire and on disk
//	bytes ──size limit, COSE, key id──► policy entry ──scope──► signature ──strict CBOR──► struct
//
// The caller keeps private keys, passes the time, and decides what follows from a refusal.
// [Reason] turns a refusal into a stable metric label.
//
// Promises: a Verify method returns a record only if a key of the policy has signed the
// record, the policy lets the key sign records of this kind for this config or region, and
// the payload is the canonical encoding of the returned struct. A decoder never allocates
// more than a small multiple of the limits.
//
// Bytes: docs/protocol.md specifies them; testdata/ holds vectors. Sources:
// RFC 8949 §4.2.1 (deterministic CBOR), RFC 9052 (COSE), RFC 8032 (Ed25519), RFC 9162 §2.1 (Merkle
// trees), draft-ietf-ntp-roughtime (one signature for a batch).
package record
