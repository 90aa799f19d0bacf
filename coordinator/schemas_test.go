package coordinator

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/versionstore"
)

// A version is stored only if the schema is still the one that its body was validated against, also if
// the schema was removed and set again meanwhile.
func TestTruthAVersionIsNotStoredUnderASchemaThatChanged(t *testing.T) {
	f := newFixture(t, nil)
	strict := []byte(`{"type": "object", "required": ["n"]}`)
	draft := api.Draft{Config: "a", Body: []byte(`{"m": 1}`), ContentType: "application/json"}
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(draft.Body)), nil }
	if err := f.alice.PutBody(f.ctx, record.Sum(draft.Body), int64(len(draft.Body)), body); err != nil {
		t.Fatal(err)
	}
	signed, _, err := api.Sign(draft, 0, f.key)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][][]byte{
		"set":                   {strict},
		"removed and set again": {nil, strict},
	} {
		if err := f.alice.PutSchema(f.ctx, "a", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		checked, err := f.server.versions.publication(f.ctx, "a", api.PutVersion{Signed: signed}, "alice")
		if err != nil {
			t.Fatal(err)
		}
		for _, schema := range change {
			if err := f.alice.PutSchema(f.ctx, "a", schema); err != nil {
				t.Fatal(err)
			}
		}
		_, err = f.server.versions.requests.publish(f.ctx, checked)
		var conflict *versionstore.ConflictError
		if !errors.As(err, &conflict) || conflict.What != kindSchema {
			t.Errorf("a schema was %s after the check: %v; want a conflict", what, err)
		}
		_, err = f.alice.Version(f.ctx, "a", 0)
		f.refuses("nothing is stored", err, api.CodeNotFound)
	}
}
