package record_test

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"banyan/record"
)

// A publisher signs the manifest of a version. A host verifies the manifest under the trust
// policy, which the root key has signed.
func Example() {
	root := record.KeyFromSeed([32]byte{1})
	publisher := record.KeyFromSeed([32]byte{2})
	now := time.Unix(1_800_000_000, 0)
	signedPolicy, err := record.SignPolicy(record.PolicyDocument{
		Version:    1,
		ExpiresSec: now.Add(time.Hour).Unix(),
		Publishers: []record.PublisherEntry{{Name: "payments", Public: publisher.Public(), Scopes: []string{"payments"}}},
	}, root)
	if err != nil {
		fmt.Println(err)
		return
	}
	policy, err := record.OpenPolicy(signedPolicy, []ed25519.PublicKey{root.Public()}, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, config := range []string{"payments/limits", "web/flags"} {
		signed, err := record.SignManifest(manifest(config, "{}"), publisher)
		if err != nil {
			fmt.Println(err)
			return
		}
		_, by, err := policy.VerifyManifest(signed)
		if err != nil {
			fmt.Println(config, "refused:", record.Reason(err))
			continue
		}
		fmt.Println(config, "signed by", by.Name)
	}
	// Output:
	// payments/limits signed by payments
	// web/flags refused: scope
}

// manifest describes version 1 of config, whose body is one shard.
func manifest(config, body string) record.Manifest {
	size := int64(len(body))
	sum := record.Sum([]byte(body))
	return record.Manifest{
		Config:     config,
		Version:    1,
		BodySize:   size,
		BodySHA256: sum,
		Forms: []record.Form{{
			Encoding:    record.EncodingIdentity,
			Size:        size,
			SHA256:      sum,
			Geometry:    record.Geometry{Data: 1, ShardBytes: uint32(size)},
			IndexSHA256: record.Sum(sum[:]),
		}},
		ContentType: "application/json",
	}
}

// A pointer says which version a region runs. The wave decides which agents run the
// candidate.
func ExamplePointer_VersionFor() {
	p := record.Pointer{
		Config:    "payments/limits",
		Region:    "eu",
		Term:      1,
		Epoch:     7,
		Baseline:  record.Ref{Version: 3, Digest: record.Sum([]byte("manifest 3"))},
		Candidate: record.Ref{Version: 4, Digest: record.Sum([]byte("manifest 4"))},
		Phase:     record.PhaseActive,
		Wave:      record.Wave{Any: []map[string]string{{"canary": "true"}}},
	}
	fmt.Println(p)
	fmt.Println("canary:", p.VersionFor("host-1", map[string]string{"canary": "true"}).Version)
	fmt.Println("other:", p.VersionFor("host-2", nil).Version)
	// Output:
	// payments/limits@eu epoch 7: version 3, candidate 4 at canary=true
	// canary: 4
	// other: 3
}

// A state does not depend on the order in which pointers are added.
func ExampleState() {
	var a, b record.State
	a.Add(record.Sum([]byte("pointer 1")))
	a.Add(record.Sum([]byte("pointer 2")))
	b.Add(record.Sum([]byte("pointer 2")))
	b.Add(record.Sum([]byte("pointer 1")))
	fmt.Println(a == b)
	b.Remove(record.Sum([]byte("pointer 1")))
	fmt.Println(a == b)
	// Output:
	// true
	// false
}
