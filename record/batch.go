package record

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// A batch is a list of pointers under one signature: an activation key signs the root of a Merkle tree
// over the payloads of the pointers. A receiver of the whole batch checks one signature and hashes the
// payloads. Each pointer of the batch can be taken out of it: the signed root and the path from
// the payload to the root prove the pointer alone, as the signature of a single pointer does.
//
// The proof is no part of the pointer. A pointer has the same digest with either proof.

// batchRoot is what the signature of a batch covers.
type batchRoot struct {
	Root     Digest `cbor:"1,keyasint"`
	Pointers uint64 `cbor:"2,keyasint"` // number of pointers; fixes the shape of the tree
}

// batchedPointer is a pointer that was taken out of a batch. It is encoded as an array of the four fields.
type batchedPointer struct {
	root    []byte // signed
	index   uint64 // of the pointer in the batch
	path    []byte // the hashes that lead to the root, one after another
	payload []byte
}

// batchedFields is the number of fields of a batchedPointer, which fits into the first byte of the encoding.
const batchedFields = 4

// isBatched reports whether raw is the encoding of a batchedPointer. A COSE_Sign1 begins with a tag.
func isBatched(raw []byte) bool { return len(raw) > 0 && raw[0] == majorArray<<5|batchedFields }

func (p *batchedPointer) encode() []byte {
	b := make([]byte, 0, len(p.root)+len(p.path)+len(p.payload)+batchedHeads)
	b = appendHead(b, majorArray, batchedFields)
	b = appendBytes(b, p.root)
	b = appendHead(b, majorUint, p.index)
	b = appendBytes(b, p.path)
	return appendBytes(b, p.payload)
}

// SignedPointer is a pointer with its digest and its proof.
type SignedPointer struct {
	Pointer Pointer
	Digest  Digest
	Raw     []byte // for VerifyPointer
}

// SignBatch signs the payloads of 1 to MaxBatch valid pointers with an activation key, and returns
// the signed root. See [Pointer.Payload] and [Policy.VerifyBatch].
func SignBatch(payloads [][]byte, key Key) ([]byte, error) {
	if err := checkBatch(payloads); err != nil {
		return nil, err
	}
	root := newMerkleTree(payloads).root()
	return seal(kindBatch, batchRoot{Root: root, Pointers: uint64(len(payloads))}, key)
}

// checkBatch checks the number and the sizes of the payloads.
func checkBatch(payloads [][]byte) error {
	if len(payloads) == 0 || len(payloads) > MaxBatch {
		return fmt.Errorf("%w: a batch of %d pointers, not 1 to %d", ErrTooLarge, len(payloads), MaxBatch)
	}
	for _, p := range payloads {
		if len(p) > MaxPointerPayload {
			return fmt.Errorf("%w: a pointer of %d bytes in a batch, the limit is %d",
				ErrTooLarge, len(p), MaxPointerPayload)
		}
	}
	return nil
}

// VerifyBatch verifies the pointers of a batch: an activation key of the region of each pointer must have
// signed the root of the tree over payloads, in their order. If one pointer is refused, all are. It
// returns the pointers with their proofs, in the same order.
func (p *Policy) VerifyBatch(root []byte, payloads [][]byte) ([]SignedPointer, error) {
	if err := checkBatch(payloads); err != nil {
		return nil, err
	}
	signed, key, err := p.verifyRoot(root)
	if err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	tree := newMerkleTree(payloads)
	if signed.Pointers != uint64(len(payloads)) || signed.Root != tree.root() {
		return nil, fmt.Errorf("batch: %w: these are not the %d pointers that key %s signed",
			ErrSignature, signed.Pointers, key)
	}
	pointers := make([]SignedPointer, len(payloads))
	for i, payload := range payloads {
		proof := batchedPointer{root: root, index: uint64(i), path: tree.path(i), payload: payload}
		pointers[i] = SignedPointer{Digest: Sum(payload), Raw: proof.encode()}
		if pointers[i].Pointer, err = p.decodePointer(payload, key); err != nil {
			return nil, fmt.Errorf("batch: %w", err)
		}
	}
	return pointers, nil
}

// verifyBatched verifies a pointer that was taken out of a batch.
func (p *Policy) verifyBatched(raw []byte) (Pointer, error) {
	b, err := openBatched(raw)
	if err != nil {
		return Pointer{}, err
	}
	signed, key, err := p.verifyRoot(b.root)
	if err != nil {
		return Pointer{}, err
	}
	root, ok := climb(b.payload, b.index, signed.Pointers, b.path)
	if !ok {
		return Pointer{}, fmt.Errorf("%w: the path from pointer %d of a batch of %d has a wrong length",
			ErrMalformed, b.index, signed.Pointers)
	}
	if root != signed.Root {
		return Pointer{}, fmt.Errorf("%w: the pointer is not in the batch that key %s signed", ErrSignature, key)
	}
	return p.decodePointer(b.payload, key)
}

// openBatched decodes a pointer that was taken out of a batch, without verifying the proof.
func openBatched(raw []byte) (b batchedPointer, err error) {
	if len(raw) > MaxBatchedPointer {
		return b, fmt.Errorf("%w: %d bytes, the limit for a pointer of a batch is %d",
			ErrTooLarge, len(raw), MaxBatchedPointer)
	}
	r := compactReader{rest: raw}
	r.head(majorArray)
	b.root = r.string(majorBytes)
	b.index = r.head(majorUint)
	b.path = r.string(majorBytes)
	b.payload = r.string(majorBytes)
	if r.bad || len(r.rest) > 0 {
		return b, fmt.Errorf("%w: not the encoding of a pointer of a batch", ErrMalformed)
	}
	return b, nil
}

// decodePointer decodes and validates a payload that key has signed. The key must serve the region of
// the pointer.
func (p *Policy) decodePointer(payload []byte, key KeyID) (ptr Pointer, err error) {
	if err := decodeCanonical(payload, &ptr); err != nil {
		return Pointer{}, err
	}
	if err := p.checkRegion(key, ptr.Region); err != nil {
		return Pointer{}, err
	}
	return ptr, ptr.Validate()
}

// verifyRoot verifies the signed root of a batch and returns the id of the key. The signature is not
// checked again if the policy remembers the root.
func (p *Policy) verifyRoot(raw []byte) (root batchRoot, key KeyID, err error) {
	if r, ok := p.roots.find(raw); ok {
		return r.root, r.key, nil
	}
	e, entry, err := p.openActivation(kindBatch, raw)
	if err != nil {
		return root, key, err
	}
	if err := e.verify(entry.Public, &root); err != nil {
		return root, key, err
	}
	p.roots.add(verifiedRoot{raw: bytes.Clone(raw), root: root, key: e.keyID})
	return root, e.keyID, nil
}

// rootMemory holds the signed roots that were verified last: of many pointers that were taken out of one
// batch, only the first costs a check of a signature. A policy has a memory of its own, so every root is
// verified again under the next policy.
type rootMemory struct {
	mu    sync.Mutex
	roots []verifiedRoot // at most maxRoots; guarded by mu
	next  int            // index of the oldest root, once there are maxRoots; guarded by mu
}

// verifiedRoot is a signed root, what it says, and the key that signed it.
type verifiedRoot struct {
	raw  []byte
	root batchRoot
	key  KeyID
}

// find returns the verified root with the given bytes.
func (m *rootMemory) find(raw []byte) (verifiedRoot, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.roots, func(r verifiedRoot) bool { return bytes.Equal(r.raw, raw) })
	if i < 0 {
		return verifiedRoot{}, false
	}
	return m.roots[i], true
}

// add remembers r in the place of the oldest root.
func (m *rootMemory) add(r verifiedRoot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.roots) < maxRoots {
		m.roots = append(m.roots, r)
		return
	}
	m.roots[m.next] = r
	m.next = (m.next + 1) % maxRoots
}
