package record

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the test vectors anew")

const vectorFile = "../testdata/vectors.json"

// vector is a signed record that another implementation can check itself by.
type vector struct {
	Kind      string `json:"kind"`
	Seed      string `json:"ed25519_seed"`
	Public    string `json:"ed25519_public"`
	KeyID     string `json:"key_id"`
	Payload   string `json:"payload_cbor"`
	Envelope  string `json:"cose_sign1"`
	Signature string `json:"signature"`
	Record    any    `json:"record"`
	// Of a batch: the payloads of its pointers, and the pointers as they are taken out of it.
	Payloads []string `json:"pointer_payloads_cbor,omitempty"`
	Proofs   []string `json:"batched_pointers_cbor,omitempty"`
}

// batchVector is a batch of three pointers: the path of the last one is shorter than the others.
func batchVector(t *testing.T, k trust) vector {
	root, payloads := testBatch(t, k, 3)
	e, err := open(kindBatch, root)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := k.policy.VerifyBatch(root, payloads)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{Kind: "batch", Seed: hex.EncodeToString(bytes.Repeat([]byte{4}, 32)), Public: hex.EncodeToString(k.activator.Public()),
		KeyID: k.activator.ID.String(), Payload: hex.EncodeToString(e.msg.Payload), Envelope: hex.EncodeToString(root),
		Signature: hex.EncodeToString(e.msg.Signature), Record: map[string]any{"root": newMerkleTree(payloads).root(), "pointers": len(payloads)}}
	for i, s := range signed {
		v.Payloads = append(v.Payloads, hex.EncodeToString(payloads[i]))
		v.Proofs = append(v.Proofs, hex.EncodeToString(s.Raw))
	}
	return v
}

// The vectors pin the bytes: a change of the wire format shows here first.
func TestVectors(t *testing.T) {
	k := newTrust(t)
	all := sealed(t, k)
	build := func(kindName string, kd kind, key Key, seed byte, rec any) vector {
		e, err := open(kd, all[kindName].raw)
		if err != nil {
			t.Fatal(err)
		}
		return vector{Kind: kindName, Seed: hex.EncodeToString(bytes.Repeat([]byte{seed}, 32)), Public: hex.EncodeToString(key.Public()),
			KeyID: key.ID.String(), Payload: hex.EncodeToString(e.msg.Payload), Envelope: hex.EncodeToString(all[kindName].raw),
			Signature: hex.EncodeToString(e.msg.Signature), Record: rec}
	}
	vectors := []vector{
		build("manifest", kindManifest, k.publisher, 2, testManifest()),
		build("pointer", kindPointer, k.activator, 4, testPointer()),
		build("head", kindHead, k.activator, 4, testHead()),
		build("policy", kindPolicy, k.root, 1, k.document()),
		batchVector(t, k),
	}
	got, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the bytes of a record changed; if that is meant, say so in docs/protocol.md and run with -update\n%s", got)
	}
}
