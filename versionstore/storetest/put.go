package storetest

import (
	"context"

	"banyan/record"
	"banyan/versionstore"
)

// PutManifest commits one version in the store's term.
func PutManifest(
	ctx context.Context, s versionstore.Store, m record.Manifest, raw []byte, by string,
) (uint64, error) {
	return commit(ctx, s, versionstore.Transaction{
		Versions: []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: by}},
		By:       by,
	})
}

func commit(ctx context.Context, s versionstore.Store, t versionstore.Transaction) (revision uint64, err error) {
	t.Term, err = s.Term(ctx)
	if err != nil {
		return 0, err
	}
	return s.Commit(ctx, t)
}

// PutDocument commits a new document in the store's term.
func PutDocument(ctx context.Context, s versionstore.Store, kind, name string, raw []byte) error {
	_, err := commit(ctx, s, versionstore.Transaction{
		Documents: []versionstore.DocumentWrite{{Kind: kind, Name: name, Raw: raw}},
		By:        "tester",
	})
	return err
}
