package world

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"banyan/record"
)

// signer replaces Ed25519 in a virtual fleet: a "signed" record is a number, the index of
// the record in a list. Costs.Verify models the time of a real check.
type signer struct {
	pointers []record.Pointer
	places   map[record.Digest]int // of the pointers in the list
	heads    []record.Head
	batches  []record.Digest // of the payloads of each batch, see batchDigest
}

func newSigner() *signer { return &signer{places: map[record.Digest]int{}} }

func (s *signer) pointer(p record.Pointer) []byte {
	s.places[p.Digest()] = len(s.pointers)
	s.pointers = append(s.pointers, p)
	return stamp('p', len(s.pointers)-1)
}

// batch signs the payloads of several pointers.
func (s *signer) batch(_ string, payloads [][]byte) (root []byte, err error) {
	s.batches = append(s.batches, batchDigest(payloads))
	return stamp('b', len(s.batches)-1), nil
}

func batchDigest(payloads [][]byte) record.Digest { return record.Sum(bytes.Join(payloads, []byte{0})) }

func (s *signer) head(h record.Head) []byte {
	s.heads = append(s.heads, h)
	return stamp('h', len(s.heads)-1)
}

func stamp(tag byte, n int) []byte { return binary.BigEndian.AppendUint64([]byte{tag}, uint64(n)) }

// first returns the oldest signed pointer of a config in a region, or of any config if config is "";
// nil if there is none.
func (s *signer) first(config, region string) []byte {
	for i := range s.pointers {
		if p := &s.pointers[i]; (config == "" || p.Config == config) && p.Region == region {
			return stamp('p', i)
		}
	}
	return nil
}

// firstHead returns the oldest signed head of a region; nil if there is none.
func (s *signer) firstHead(region string) []byte {
	for i := range s.heads {
		if s.heads[i].Region == region {
			return stamp('h', i)
		}
	}
	return nil
}

// simulatedManifest stands for any signed manifest.
var simulatedManifest = []byte{'m'}

// VerifyPointer implements mesh.Verifier.
func (s *signer) VerifyPointer(raw []byte) (record.Pointer, error) {
	return lookUp(s.pointers, 'p', raw)
}

// VerifyBatch implements mesh.Verifier.
func (s *signer) VerifyBatch(root []byte, payloads [][]byte) ([]record.SignedPointer, error) {
	digest, err := lookUp(s.batches, 'b', root)
	if err != nil {
		return nil, err
	}
	if digest != batchDigest(payloads) {
		return nil, fmt.Errorf("%w by the simulated key", record.ErrSignature)
	}
	signed := make([]record.SignedPointer, len(payloads))
	for i, payload := range payloads {
		digest := record.Sum(payload)
		place := s.places[digest]
		signed[i] = record.SignedPointer{Pointer: s.pointers[place], Digest: digest, Raw: stamp('p', place)}
	}
	return signed, nil
}

// VerifyHead implements mesh.Verifier.
func (s *signer) VerifyHead(raw []byte) (record.Head, error) {
	return lookUp(s.heads, 'h', raw)
}

// VerifyVersion implements mesh.Verifier. Every manifest that is not empty counts as signed.
func (s *signer) VerifyVersion(_ record.VersionKey, manifest, _ []byte) error {
	if len(manifest) == 0 {
		return fmt.Errorf("%w by the simulated key", record.ErrSignature)
	}
	return nil
}

func lookUp[T any](issued []T, tag byte, raw []byte) (T, error) {
	var none T
	if len(raw) != 9 || raw[0] != tag || binary.BigEndian.Uint64(raw[1:]) >= uint64(len(issued)) {
		return none, fmt.Errorf("%w by the simulated key", record.ErrSignature)
	}
	return issued[binary.BigEndian.Uint64(raw[1:])], nil
}
