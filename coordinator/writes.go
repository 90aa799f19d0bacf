package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/forms"
	"banyan/mesh/step"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

func (c *Coordinator) checkSize(size int64) error {
	if size > c.cfg.MaxBody {
		return fmt.Errorf("%w: body of %d bytes, the limit of this coordinator is %d", record.ErrTooLarge, size, c.cfg.MaxBody)
	}
	return nil
}

// postVersion stores a version: verify, validate, then compare-and-swap.
func (c *Coordinator) postVersion(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.PutVersion
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	m, publisher, err := c.cfg.Identity.Policy.VerifyManifest(in.Signed)
	if err != nil {
		return nil, err
	}
	if m.Config != config {
		return nil, fmt.Errorf("%w: the manifest is of %s, the request is for %s", record.ErrInvalid, m.Config, config)
	}
	if err := c.checkSize(m.BodySize); err != nil {
		return nil, err
	}
	if err := c.permit(r.Context(), config, c.Policy().Regions(), true); err != nil {
		return nil, err
	}
	if err := c.checkDraft(r.Context(), m); err != nil {
		return nil, err
	}
	by := fmt.Sprintf("%s (key %s)", publisher.Name, record.IDOf(publisher.Public))
	revision, err := c.store.PutManifest(r.Context(), m, in.Signed, by)
	if err != nil {
		return nil, err
	}
	c.metrics.versions.Inc()
	c.driver.Input(r.Context(), step.Input{Kind: step.InStored, Want: record.VersionKey{Config: config, Version: m.Version}})
	c.log.Info("version stored", "config", config, "version", m.Version, "by", by, "revision", revision)
	return api.Version{Manifest: m, PublishedBy: by, StoredAt: time.Now(), Revision: revision, Signed: in.Signed}, nil
}

// checkDraft holds the uploaded forms against the manifest, and the body that they make
// against its content type and the config's schema: the CLI did so too, and nothing
// bypasses it.
func (c *Coordinator) checkDraft(ctx context.Context, m record.Manifest) error {
	for _, f := range m.Forms {
		if err := c.checkForm(ctx, m, f); err != nil {
			return err
		}
	}
	schema, err := c.store.Schema(ctx, m.Config)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
		return err
	}
	return draft.CheckReader(m.ContentType, m.BodySize, schema, func() ([]byte, error) {
		r, err := c.library.OpenBody(ctx, m)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	})
}

// checkForm holds what was uploaded as a form to what the manifest says of it: its
// bytes, its index, and the body that it decodes to.
func (c *Coordinator) checkForm(ctx context.Context, m record.Manifest, f record.Form) error {
	r, size, err := c.blobs.Open(ctx, f.SHA256)
	if errors.Is(err, versionstore.ErrNotFound) {
		return &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("body %s was not uploaded", f.SHA256), Hint: "PUT /v1/bodies/{sha256} comes first"}
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if size != f.Size {
		return fmt.Errorf("%w: the manifest says %d bytes, the body has %d", record.ErrInvalid, f.Size, size)
	}
	if _, err := forms.Verify(f, r); err != nil {
		return err
	}
	if f.Encoding == record.EncodingIdentity {
		return nil
	}
	base, err := c.baseOf(ctx, m, f)
	if err != nil {
		return err
	}
	encoded, _, err := c.blobs.Open(ctx, f.SHA256)
	if err != nil {
		return err
	}
	defer encoded.Close()
	return forms.Decode(m, f, encoded, base, io.Discard)
}

// baseOf reads the body that a form is a delta to; nil if it is none.
func (c *Coordinator) baseOf(ctx context.Context, m record.Manifest, f record.Form) ([]byte, error) {
	if f.Base == 0 {
		return nil, nil
	}
	v, err := c.store.Version(ctx, m.Config, f.Base)
	if err != nil {
		return nil, err
	}
	if v.Manifest.BodySize > record.MaxDelta {
		return nil, fmt.Errorf("%w: a delta to version %d, which has %d bytes, the limit is %d", record.ErrInvalid, f.Base, v.Manifest.BodySize, record.MaxDelta)
	}
	r, err := c.library.OpenBody(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (c *Coordinator) putSchema(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var schema []byte
	if r.Method == http.MethodPut {
		if schema, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, versionstore.MaxSchema)); err != nil {
			return nil, err
		}
		if err := draft.CheckSchema(schema); err != nil {
			return nil, err
		}
	}
	return nil, c.store.PutSchema(r.Context(), config, schema, caller.Name)
}
