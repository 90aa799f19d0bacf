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

// PutSchema commits the schema of one config in the store's term.
func PutSchema(ctx context.Context, s versionstore.Store, config string, schema []byte) error {
	_, err := commit(ctx, s, versionstore.Transaction{
		Schemas: []versionstore.SchemaWrite{{Config: config, Schema: schema}},
		By:      "tester",
	})
	return err
}

func commit(ctx context.Context, s versionstore.Store, t versionstore.Transaction) (revision uint64, err error) {
	t.Term, err = s.Term(ctx)
	if err != nil {
		return 0, err
	}
	return s.Commit(ctx, t)
}
