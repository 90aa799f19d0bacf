package record

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"github.com/veraison/go-cose"
)

// kind is a kind of record. The content type is a signed COSE header, so a signature for a
// record of one kind is never valid for a record of another kind.
type kind struct {
	contentType string
	limit       int // size of a signed record in bytes
}

var (
	kindManifest = kind{"application/vnd.banyan.manifest+cbor", MaxManifest}
	kindPointer  = kind{"application/vnd.banyan.pointer+cbor", MaxPointer}
	kindBatch    = kind{"application/vnd.banyan.batch+cbor", MaxRoot}
	kindHead     = kind{"application/vnd.banyan.head+cbor", MaxHead}
	kindPolicy   = kind{"application/vnd.banyan.policy+cbor", MaxPolicy}
)

// seal encodes v canonically and signs it as a COSE_Sign1 of kind k.
func seal(k kind, v any, key Key) ([]byte, error) {
	payload, err := canonical.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key.private)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	msg := cose.NewSign1Message()
	msg.Headers.Protected = cose.ProtectedHeader{
		cose.HeaderLabelAlgorithm:   cose.AlgorithmEdDSA,
		cose.HeaderLabelContentType: k.contentType,
		cose.HeaderLabelKeyID:       key.ID[:],
	}
	msg.Payload = payload
	if err := msg.Sign(rand.Reader, nil, signer); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	raw, err := msg.MarshalCBOR()
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if len(raw) > k.limit {
		return nil, fmt.Errorf("%w: %d bytes as %s, the limit is %d", ErrTooLarge, len(raw), k.contentType, k.limit)
	}
	return raw, nil
}

// envelope is a parsed COSE_Sign1 whose signature is not verified yet.
type envelope struct {
	msg   cose.Sign1Message
	keyID KeyID
}

// open parses raw, and checks the size, the headers, the algorithm and the kind.
func open(k kind, raw []byte) (*envelope, error) {
	if len(raw) > k.limit {
		return nil, fmt.Errorf("%w: %d bytes, the limit for %s is %d",
			ErrTooLarge, len(raw), k.contentType, k.limit)
	}
	e := new(envelope)
	if err := e.msg.UnmarshalCBOR(raw); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, err)
	}
	protected := e.msg.Headers.Protected
	if len(protected) != 3 || len(e.msg.Headers.Unprotected) != 0 {
		return nil, fmt.Errorf("%w: the headers must be algorithm, content type and key id, all protected",
			ErrMalformed)
	}
	if alg, err := protected.Algorithm(); err != nil || alg != cose.AlgorithmEdDSA {
		return nil, fmt.Errorf("%w: algorithm is not EdDSA", ErrMalformed)
	}
	if ct, _ := protected[cose.HeaderLabelContentType].(string); ct != k.contentType {
		return nil, fmt.Errorf("%w: content type is %q, not %q", ErrMalformed, ct, k.contentType)
	}
	id, _ := protected[cose.HeaderLabelKeyID].([]byte)
	if len(id) != len(e.keyID) {
		return nil, fmt.Errorf("%w: key id has %d bytes, not %d", ErrMalformed, len(id), len(e.keyID))
	}
	copy(e.keyID[:], id)
	return e, nil
}

// verify checks the signature under pub, then decodes the payload into v.
func (e *envelope) verify(pub ed25519.PublicKey, v any) error {
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, pub)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrSignature, err)
	}
	if err := e.msg.Verify(nil, verifier); err != nil {
		return fmt.Errorf("%w by key %s", ErrSignature, e.keyID)
	}
	return decodeCanonical(e.msg.Payload, v)
}

// decodeUnverified decodes a record without verifying the signature.
func decodeUnverified(k kind, raw []byte, v any) error {
	e, err := open(k, raw)
	if err != nil {
		return err
	}
	return decodeCanonical(e.msg.Payload, v)
}
