package coordinator

import (
	"context"

	"banyan/coordinator/ledger"
	"banyan/versionstore"
)

// kindSchema is the kind of the documents that hold the JSON Schemas, by config. A removed schema
// leaves an empty document, so that a guard notices a schema that was removed and set again.
const kindSchema = "schema"

// schemaOf returns the JSON Schema of config, and the guard that the schema stays as it is. The
// schema is empty if config has none.
func schemaOf(ctx context.Context, store versionstore.Reader, config string) ([]byte, versionstore.Guard, error) {
	guard := versionstore.Guard{Kind: kindSchema, Name: config}
	d, err := store.Document(ctx, kindSchema, config)
	if isNotFound(err) {
		return nil, guard, nil
	}
	guard.Seq = d.Seq
	return d.Raw, guard, err
}

// writeSchema sets the JSON Schema of a config; an empty schema removes it.
func writeSchema(ctx context.Context, l *ledger.Ledger, config string, schema []byte, by string) error {
	act := ledger.Act{By: by, What: "schema set", Config: config}
	if len(schema) == 0 {
		act.What = "schema removed"
		schema = []byte{}
	}
	return l.ReplaceDocument(ctx, act, kindSchema, config, schema)
}
