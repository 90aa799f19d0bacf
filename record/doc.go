// Package record holds everything in Banyan that carries a signature: the
// manifest of a version, the pointer that activates it, the head that proves
// freshness, and the trust policy that says whose signature counts for what.
//
// Entry points: [SignManifest], [SignPointer], [SignHead] and [SignPolicy] make
// records; a [Policy], opened with [OpenPolicy], verifies them.
//
// Data flow:
//
//	struct ──canonical CBOR──► payload ──COSE_Sign1, Ed25519──► bytes on the wire and on disk
//	bytes ──size limit, COSE, key id──► policy entry ──scope──► signature ──strict CBOR──► struct
//
// The caller keeps private keys, hands in the time, and decides what to do with
// a refusal; [Reason] turns one into a stable metric label.
//
// Promises: a Verify method returns a record only if its signature is that of a
// key the policy lists, for the kind of record asked for, within the key's
// scope, and its payload is the one canonical encoding of the struct returned.
// Decoders never allocate more than a small multiple of the stated limits.
//
// Bytes: docs/protocol.md specifies them; testdata/ holds vectors. Sources:
// RFC 8949 §4.2.1 (deterministic CBOR), RFC 9052 (COSE), RFC 8032 (Ed25519).
package record
