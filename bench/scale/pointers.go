package scale

import (
	"banyan/record"
)

// trusting reads pointers whose signatures are empty, and verifies nothing: signatures cost the
// same at every scale.
type trusting struct{}

func (trusting) VerifyPointer(raw []byte) (record.Pointer, error) { return record.DecodePointer(raw) }

func (trusting) VerifyBatch([]byte, [][]byte) ([]record.SignedPointer, error) {
	return nil, record.ErrSignature
}

func (trusting) VerifyHead([]byte) (record.Head, error) { return record.Head{}, record.ErrSignature }

func (trusting) VerifyVersion(record.VersionKey, []byte, []byte) error { return nil }

// key signs the pointers that are measured.
var key = record.KeyFromSeed([32]byte{1})

// pointerOf returns a pointer to version 1 of a config.
func pointerOf(config, region string, epoch uint64) record.Pointer {
	return record.Pointer{
		Config:     config,
		Region:     region,
		Term:       1,
		Epoch:      epoch,
		Baseline:   record.Ref{Version: 1, Digest: record.Sum([]byte(config))},
		Phase:      record.PhaseActive,
		TimeMicros: 1,
	}
}

// rawPointer returns a signed pointer.
func rawPointer(p record.Pointer) []byte {
	raw, err := record.SignPointer(p, key)
	if err != nil {
		panic(err) // the pointer is valid
	}
	return raw
}
