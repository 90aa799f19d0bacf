package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/draft"
	"banyan/mesh/step"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// versionHandlers answer requests about configs, versions, bodies and schemas.
type versionHandlers struct {
	ledger   *ledger.Ledger
	requests *requests
	uploads  *uploads
	library  *library
	blobs    versionstore.Blobs
	surveys  *surveys
	driver   *transport.Driver
	policy   *record.Policy
	log      *slog.Logger
}

// getConfigs lists names of configs, a page at a time.
func (h *versionHandlers) getConfigs(r *http.Request, _ identity.Identity) (any, error) {
	q := r.URL.Query()
	configs, err := h.ledger.Configs(r.Context(), q.Get("prefix"), q.Get("after"), versionstore.MaxPage)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"configs": append([]string{}, configs...),
		"more":    len(configs) == versionstore.MaxPage,
	}, nil
}

// getAll lists versions of a config, newest first.
func (h *versionHandlers) getAll(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	limit := min(numberOf(r, "limit"), maxHistory)
	versions, err := h.ledger.History(r.Context(), config, numberOf(r, "before"), int(cmp.Or(limit, maxHistory)))
	if err != nil {
		return nil, err
	}
	out := make([]api.Version, len(versions))
	for i, v := range versions {
		out[i] = apiVersion(v)
	}
	return map[string]any{"versions": out}, nil
}

// numberOf returns a number in the query of a request; 0 if there is none.
func numberOf(r *http.Request, name string) uint64 {
	n, _ := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
	return n
}

// find returns the version that a request names.
func (h *versionHandlers) find(r *http.Request) (versionstore.Version, error) {
	config, err := configOf(r)
	if err != nil {
		return versionstore.Version{}, err
	}
	number, err := versionOf(r)
	if err != nil {
		return versionstore.Version{}, err
	}
	return h.ledger.Version(r.Context(), config, number)
}

func (h *versionHandlers) get(r *http.Request, _ identity.Identity) (any, error) {
	v, err := h.find(r)
	if err != nil {
		return nil, err
	}
	return apiVersion(v), nil
}

// getBody sends the body of a version.
func (h *versionHandlers) getBody(w http.ResponseWriter, r *http.Request) {
	v, err := h.find(r)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	body, err := h.library.OpenBody(r.Context(), v.Manifest)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", cmp.Or(v.Manifest.ContentType, "application/octet-stream"))
	w.Header().Set("Content-Length", strconv.FormatInt(v.Manifest.BodySize, 10))
	w.Header().Set("Banyan-Version", strconv.FormatUint(v.Manifest.Version, 10))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := io.Copy(w, body); err != nil {
		h.log.Warn("body not sent", "config", v.Manifest.Config, "version", v.Manifest.Version, "error", err)
	}
}

// getBlob sends the stored bytes of a form to a coordinator that follows.
func (h *versionHandlers) getBlob(w http.ResponseWriter, r *http.Request) {
	digest, err := record.ParseDigest(r.PathValue("digest"))
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	blob, size, err := h.blobs.Open(r.Context(), digest)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	defer blob.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(w, blob); err != nil {
		h.log.Warn("blob not sent", "digest", digest, "error", err)
	}
}

// putBody stores the uploaded bytes of a form.
func (h *versionHandlers) putBody(r *http.Request, _ identity.Identity) (any, error) {
	digest, err := record.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return nil, err
	}
	if r.ContentLength < 0 {
		return nil, &api.Error{
			Code:    api.CodeInvalid,
			Message: fmt.Sprintf("upload of %s: Content-Length is required", digest),
		}
	}
	if err := h.uploads.checkSize(r.ContentLength); err != nil {
		return nil, err
	}
	return nil, h.blobs.Put(r.Context(), digest, r.ContentLength, r.Body)
}

// check makes the checks of a publication and stores nothing.
func (h *versionHandlers) check(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Check
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if err := h.uploads.checkSize(in.BodySize); err != nil {
		return nil, err
	}
	return h.requests.check(r.Context(), config, in, caller.Name)
}

// post verifies, validates and stores a version, and starts its rollout if the request says so.
func (h *versionHandlers) post(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.PutVersion
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	p, err := h.publication(r.Context(), config, in, caller.Name)
	if err != nil {
		return nil, err
	}
	out, err := h.requests.publish(r.Context(), p)
	if err != nil {
		return nil, err
	}
	if !out.unchanged {
		stored := p.version.Of(config)
		h.driver.Input(r.Context(), step.Input{Kind: step.InStored, Body: step.Body{Version: stored}})
	}
	answer := api.Published{Version: apiVersion(out.version), Unchanged: out.unchanged, Live: out.live}
	if out.state.ID != 0 {
		started := apiRollout(out.state, nil)
		answer.Rollout = &started
	}
	return answer, nil
}

// publication verifies the signature and the bodies of a version, and checks the plan of the
// rollout.
func (h *versionHandlers) publication(
	ctx context.Context,
	config string,
	in api.PutVersion,
	by string,
) (p publication, err error) {
	m, publisher, err := h.policy.VerifyManifest(in.Signed)
	if err != nil {
		return p, err
	}
	if m.Config != config {
		return p, fmt.Errorf("%w: the manifest is for %s, the request for %s", errRequest, m.Config, config)
	}
	if err := h.uploads.checkSize(m.BodySize); err != nil {
		return p, err
	}
	p.launch = launch{config: config, by: by}
	if in.Start != nil {
		p.starts = true
		p.launch, err = h.requests.plan(ctx, config, *in.Start, by)
		if err != nil {
			return p, err
		}
	}
	p.schema, err = h.uploads.check(ctx, m)
	if err != nil {
		return p, err
	}
	p.version = m.Ref()
	p.ifChanged = in.IfChanged
	signer := fmt.Sprintf("%s (key %s)", publisher.Name, record.IDOf(publisher.Public))
	p.added = &versionstore.SignedManifest{Manifest: m, Raw: in.Signed, By: signer}
	return p, nil
}

// getHolders asks every agent for the held part of a version.
func (h *versionHandlers) getHolders(r *http.Request, _ identity.Identity) (any, error) {
	v, err := h.find(r)
	if err != nil {
		return nil, err
	}
	wait := surveyWait
	text := r.URL.Query().Get("wait")
	if text != "" {
		wait, err = time.ParseDuration(text)
		if err != nil || wait <= 0 || wait > maxSurveyWait {
			return nil, fmt.Errorf("%w: wait of %q; give a duration of at most %s, such as 3s",
				errRequest, text, maxSurveyWait)
		}
	}
	return h.surveys.run(r.Context(), v.Manifest.Key(), wait)
}

// getSchema sends the JSON Schema of a config.
func (h *versionHandlers) getSchema(w http.ResponseWriter, r *http.Request) {
	config, err := configOf(r)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	schema, _, err := schemaOf(r.Context(), h.ledger, config)
	if err == nil && len(schema) == 0 {
		err = notFoundf("%s has no schema", config)
	}
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	w.Header().Set("Content-Type", "application/schema+json")
	w.Write(schema)
}

// putSchema sets the JSON Schema of a config.
func (h *versionHandlers) putSchema(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	schema, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, draft.MaxSchema))
	if err != nil {
		return nil, err
	}
	if err := draft.CheckSchema(schema); err != nil {
		return nil, err
	}
	return nil, writeSchema(r.Context(), h.ledger, config, schema, caller.Name)
}

// deleteSchema removes the JSON Schema of a config.
func (h *versionHandlers) deleteSchema(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	return nil, writeSchema(r.Context(), h.ledger, config, nil, caller.Name)
}
