package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/fec"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

func (c *Coordinator) putBody(r *http.Request, _ identity.Identity) (any, error) {
	digest, err := record.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return nil, err
	}
	if r.ContentLength < 0 {
		return nil, fmt.Errorf("%w: an upload must state its Content-Length", record.ErrInvalid)
	}
	if err := c.checkSize(r.ContentLength); err != nil {
		return nil, err
	}
	return nil, c.blobs.Put(r.Context(), digest, r.ContentLength, r.Body)
}

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
	if err := c.checkDraft(r.Context(), m); err != nil {
		return nil, err
	}
	by := fmt.Sprintf("%s (key %s)", publisher.Name, record.IDOf(publisher.Public))
	revision, err := c.store.PutManifest(r.Context(), m, in.Signed, by)
	if err != nil {
		return nil, err
	}
	c.metrics.versions.Inc()
	c.log.Info("version stored", "config", config, "version", m.Version, "by", by, "revision", revision)
	return api.Version{Manifest: m, PublishedBy: by, StoredAt: time.Now(), Revision: revision, Signed: in.Signed}, nil
}

// checkDraft holds the uploaded body against its manifest, its content type and
// the config's schema: the CLI did so too, and nothing bypasses it.
func (c *Coordinator) checkDraft(ctx context.Context, m record.Manifest) error {
	body, size, err := c.blobs.Open(ctx, m.BodySHA256)
	if errors.Is(err, versionstore.ErrNotFound) {
		return &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("body %s was not uploaded", m.BodySHA256), Hint: "PUT /v1/bodies/{sha256} comes first"}
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if size != m.BodySize {
		return fmt.Errorf("%w: the manifest says %d bytes, the body has %d", record.ErrInvalid, m.BodySize, size)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if m.Geometry != fec.GeometryFor(size) {
		return fmt.Errorf("%w: geometry %+v is not the one for %d bytes", record.ErrInvalid, m.Geometry, size)
	}
	index, err := fec.IndexOf(raw, m.Geometry)
	if err != nil {
		return err
	}
	if index.Digest() != m.IndexSHA256 {
		return fmt.Errorf("shard index: %w", record.ErrChecksum)
	}
	schema, err := c.store.Schema(ctx, m.Config)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
		return err
	}
	return draft.Check(m.ContentType, raw, schema)
}

// postPointers moves the pointers of a config to a version, region by region.
// Each move is atomic; if one fails, those before it stand, and the error says so.
func (c *Coordinator) postPointers(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Activate
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if _, err := c.store.Version(r.Context(), config, in.Version); err != nil {
		return nil, err
	}
	if in.Version == 0 {
		return nil, fmt.Errorf("%w: no version given", record.ErrInvalid)
	}
	if len(in.Regions) == 0 {
		in.Regions = c.cfg.Identity.Policy.Regions()
	}
	if err := c.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	var out api.Activated
	for _, region := range slices.Compact(slices.Sorted(slices.Values(in.Regions))) {
		expected, conditional := in.IfEpoch[region]
		p, err := c.movePointer(r.Context(), config, region, in.Version, expected, conditional, caller.Name)
		if err != nil {
			if len(out.Pointers) > 0 {
				err = fmt.Errorf("region %s (%d regions before it were moved): %w", region, len(out.Pointers), err)
			}
			return nil, err
		}
		out.Pointers = append(out.Pointers, p)
	}
	return out, nil
}

func (c *Coordinator) checkRegions(regions []string) error {
	known := c.cfg.Identity.Policy.Regions()
	for _, region := range regions {
		if !slices.Contains(known, region) {
			return fmt.Errorf("%w: region %q is not in the trust policy, which has %v", record.ErrInvalid, region, known)
		}
		if _, ok := c.keys[region]; !ok {
			return &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("this coordinator has no activation key for region %s", region),
				Hint: "give it the key, or ask the coordinator that has it"}
		}
	}
	return nil
}

func (c *Coordinator) movePointer(ctx context.Context, config, region string, version, expected uint64, conditional bool, by string) (api.Pointer, error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	current, err := c.store.Pointer(ctx, config, region)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
		return api.Pointer{}, err
	}
	if conditional && current.Pointer.Epoch != expected {
		return api.Pointer{}, &versionstore.ConflictError{What: "epoch", Config: config, Region: region, Wanted: expected + 1,
			Current: current.Pointer.Epoch, By: current.By, At: current.At}
	}
	p := record.Pointer{Config: config, Region: region, Epoch: current.Pointer.Epoch + 1, Baseline: version,
		Phase: record.PhaseActive, TimeMicros: time.Now().UnixMicro()}
	raw, err := record.SignPointer(p, c.keys[region])
	if err != nil {
		return api.Pointer{}, err
	}
	revision, err := c.store.MovePointer(ctx, p, raw, by)
	if err != nil {
		return api.Pointer{}, err
	}
	c.metrics.moves.Inc()
	c.log.Info("pointer moved", "config", config, "of", region, "epoch", p.Epoch, "version", version, "by", by, "revision", revision)
	return api.Pointer{Pointer: p, MovedBy: by, MovedAt: time.Now(), Revision: revision, Signed: raw}, nil
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
