package coordinator

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/record"
)

func TestAPublishedVersionIsRead(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("payments/limits", `{"n": 1}`)
	f.publish("payments/limits", `{"n": 2}`)
	f.publish("edge", `{}`)

	v, err := f.alice.Version(f.ctx, "payments/limits", 0)
	if err != nil || v.Manifest.Version != 2 || v.Parent != 1 || !strings.HasPrefix(v.PublishedBy, "dev (key ") || v.Revision == 0 {
		t.Errorf("newest version: %+v, %v", v, err)
	}
	if m, _, err := f.Policy().VerifyManifest(v.Signed); err != nil || m.Version != 2 {
		t.Errorf("the signed manifest: %+v, %v", m, err)
	}
	history, err := f.alice.History(f.ctx, "payments/limits", 1)
	if err != nil || len(history) != 1 || history[0].Manifest.Version != 2 {
		t.Errorf("history: %+v, %v", history, err)
	}
	configs, err := f.alice.Configs(f.ctx, "payments")
	if err != nil || len(configs) != 1 || configs[0] != "payments/limits" {
		t.Errorf("configs: %v, %v", configs, err)
	}
	r, err := f.alice.Body(f.ctx, "payments/limits", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if body, err := io.ReadAll(r); err != nil || string(body) != `{"n": 1}` {
		t.Errorf("body: %q, %v", body, err)
	}
	if a := f.expect("GET", "/v1/configs/edge/versions/1/body", "", 200, ""); a.header.Get("Banyan-Version") != "1" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers of a body: %v", a.header)
	}
	blob, err := f.alice.Blob(f.ctx, v.Forms[0].SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if raw, err := io.ReadAll(blob); err != nil || record.Sum(raw) != v.Forms[0].SHA256 {
		t.Errorf("form: %d bytes, %v", len(raw), err)
	}
	holders, err := f.alice.Holders(f.ctx, "edge", 0, surveyWait)
	if err != nil || holders.Version != 1 || len(holders.Holders) != 0 {
		t.Errorf("holders in a fleet without agents: %+v, %v", holders, err)
	}
}

func TestAPublisherThatComesSecondGetsAConflict(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{"n": 1}`)
	draft := api.Draft{Config: "a", Body: []byte(`{"n": 2}`), ContentType: "application/json", Parent: 1}
	if _, err := f.alice.Publish(f.ctx, draft, f.key); err != nil {
		t.Fatal(err)
	}
	_, err := f.bob.Publish(f.ctx, draft, f.key)
	f.refuses("a second version 2", err, api.CodeConflict)
	if err == nil || !strings.Contains(err.Error(), "dev (key") {
		t.Errorf("the conflict names no publisher: %v", err)
	}
	if v, err := f.alice.Version(f.ctx, "a", 0); err != nil || v.Manifest.Version != 2 {
		t.Errorf("after the conflict: version %d, %v", v.Manifest.Version, err)
	}
}

func TestAVersionThatFailsACheckIsNotStored(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxBody = 1000 })
	sign := func(d api.Draft, key record.Key) []byte {
		signed, _, err := api.Sign(d, 0, key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := api.Draft{Config: "a", Body: []byte(`{}`), ContentType: "application/json"}
	invalid := api.Draft{Config: "a", Body: []byte(`{`), ContentType: "application/json"}
	large := api.Draft{Config: "a", Body: bytes.Repeat([]byte("x"), 2000), ContentType: "text/plain"}
	stranger := record.KeyFromSeed([32]byte{3})
	if err := f.alice.PutBody(f.ctx, record.Sum(invalid.Body), 1, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(invalid.Body)), nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config string
		signed []byte
		code   string
	}{
		"a body that was not uploaded":   {"a", sign(good, f.key), api.CodeRejected},
		"a manifest of another config":   {"b", sign(good, f.key), api.CodeInvalid},
		"a signature by an unknown key":  {"a", sign(good, stranger), api.CodeRejected},
		"bytes that are no manifest":     {"a", []byte("nonsense"), api.CodeInvalid},
		"a body over the limit":          {"a", sign(large, f.key), api.CodeTooLarge},
		"a body that is not of its type": {"a", sign(invalid, f.key), api.CodeRejected},
	} {
		_, err := f.alice.PutVersion(f.ctx, c.config, c.signed)
		f.refuses(name, err, c.code)
	}
	_, err := f.alice.Version(f.ctx, "a", 0)
	f.refuses("no version is stored", err, api.CodeNotFound)
}

func TestAnUploadIsCheckedAgainstItsHash(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxBody = 1000 })
	path := "/v1/bodies/" + record.Sum([]byte("body")).String()
	f.expect("PUT", path, "body", 200, "")
	f.expect("PUT", "/v1/bodies/"+record.Sum([]byte("other")).String(), "body", 422, api.CodeRejected)
	f.expect("PUT", path, strings.Repeat("x", 1001), 413, api.CodeTooLarge)
	f.expect("PUT", "/v1/bodies/none", "body", 400, api.CodeInvalid)
	f.expect("GET", "/v1/bodies/none", "", 400, api.CodeInvalid)
	f.expect("GET", "/v1/bodies/"+record.Sum([]byte("other")).String(), "", 404, api.CodeNotFound)
	// A reader of unknown length makes a chunked request.
	a := f.send(f.raw, "PUT", path, io.MultiReader(strings.NewReader("body")))
	if a.status != http.StatusBadRequest || !strings.Contains(a.failed.Message, "Content-Length") {
		t.Errorf("an upload without a length: %d %v", a.status, a.failed)
	}
}

func TestASchemaRefusesDrafts(t *testing.T) {
	f := newFixture(t, nil)
	f.expect("GET", "/v1/configs/a/schema", "", 404, api.CodeNotFound)
	if schema, err := f.alice.Schema(f.ctx, "a"); schema != nil || err != nil {
		t.Errorf("schema of a config that has none: %q, %v", schema, err)
	}
	schema := []byte(`{"type": "object", "required": ["n"]}`)
	if err := f.alice.PutSchema(f.ctx, "a", schema); err != nil {
		t.Fatal(err)
	}
	if got, err := f.alice.Schema(f.ctx, "a"); err != nil || !bytes.Equal(got, schema) {
		t.Errorf("schema: %q, %v", got, err)
	}
	// A publisher who skips the check of the CLI is refused by the coordinator.
	draft := api.Draft{Config: "a", Body: []byte(`{"m": 1}`), ContentType: "application/json"}
	if err := f.alice.PutBody(f.ctx, record.Sum(draft.Body), int64(len(draft.Body)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(draft.Body)), nil
	}); err != nil {
		t.Fatal(err)
	}
	signed, _, err := api.Sign(draft, 0, f.key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.alice.PutVersion(f.ctx, "a", signed)
	f.refuses("a body without n", err, api.CodeRejected)
	f.expect("PUT", "/v1/configs/a/schema", `{"type": 7}`, 422, api.CodeRejected)
	f.expect("PUT", "/v1/configs/a/schema", jsonBody(300<<10), 413, api.CodeTooLarge)
	if err := f.alice.PutSchema(f.ctx, "a", nil); err != nil {
		t.Fatal(err)
	}
	f.publish("a", `{"m": 1}`)
}

func TestPathsAndQueriesAreChecked(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	for _, path := range []string{
		"/v1/configs/NOT%20A%20NAME/versions",
		"/v1/configs/NOT%20A%20NAME/versions/1",
		"/v1/configs/NOT%20A%20NAME/schema",
		"/v1/configs/NOT%20A%20NAME/pointers",
		"/v1/configs/NOT%20A%20NAME/status",
		"/v1/configs/NOT%20A%20NAME/rollout",
		"/v1/configs/NOT%20A%20NAME/rollouts",
		"/v1/configs/a/versions/0",
		"/v1/configs/a/versions/newest",
		"/v1/configs/a/versions/x/body",
		"/v1/configs/a/versions/1/holders?wait=never",
		"/v1/configs/a/versions/1/holders?wait=1h",
	} {
		f.expect("GET", path, "", 400, api.CodeInvalid)
	}
	for _, path := range []string{
		"/v1/configs/none/versions",
		"/v1/configs/none/versions/last",
		"/v1/configs/a/versions/2",
		"/v1/configs/a/versions/2/body",
		"/v1/configs/none/pointers",
		"/v1/configs/none/status",
		"/v1/configs/a/rollout",
	} {
		f.expect("GET", path, "", 404, api.CodeNotFound)
	}
}
