package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/bits-and-blooms/bitset"

	"banyan/fec"
	"banyan/forms"
	"banyan/mesh"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
)

// openBody opens the body of a version, decoded from its first form and checked: what
// was damaged on disk ends in record.ErrChecksum.
func (c *Coordinator) openBody(ctx context.Context, m record.Manifest) (io.ReadCloser, error) {
	f := m.Forms[0]
	encoded, _, err := c.blobs.Open(ctx, f.SHA256)
	if err != nil || f.Encoding == record.EncodingIdentity {
		return encoded, err
	}
	r, w := io.Pipe()
	go func() {
		defer encoded.Close()
		w.CloseWithError(forms.Decode(m, f, encoded, nil, w))
	}()
	return r, nil
}

// getBlob sends the bytes of a form as they are stored, to coordinators that follow.
func (c *Coordinator) getBlob(w http.ResponseWriter, r *http.Request) {
	digest, err := record.ParseDigest(r.PathValue("digest"))
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	body, size, err := c.blobs.Open(r.Context(), digest)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(w, body); err != nil {
		c.log.Warn("blob not sent", "digest", digest, "error", err)
	}
}

// openForm opens a form for its shards to be served. It is a shardstore.Loader.
func (c *Coordinator) openForm(key record.FormKey) (*os.File, record.Form, fec.Index, error) {
	v, err := c.store.Version(context.Background(), key.Config, key.Version)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	if int(key.Form) >= len(v.Manifest.Forms) {
		return nil, record.Form{}, nil, fmt.Errorf("%w: form %d of %s version %d", record.ErrInvalid, key.Form, key.Config, key.Version)
	}
	f := v.Manifest.Forms[key.Form]
	file, err := c.blobs.OpenFile(f.SHA256)
	if err != nil {
		return nil, f, nil, err
	}
	index, err := forms.Verify(f, file)
	if err != nil {
		file.Close()
	}
	return file, f, index, err
}

// formsAtHand tells which forms of a version are in the blob store, a bit each.
func (c *Coordinator) formsAtHand(m record.Manifest) (set uint8) {
	for i, f := range m.Forms {
		if c.blobs.Has(f.SHA256) {
			set |= 1 << i
		}
	}
	return set
}

// OpenBody implements transport.BodyServer.
func (c *Coordinator) OpenBody(ctx context.Context, want record.VersionKey, wish transport.Wish) (transport.Offer, error) {
	if form, signed, index, ok := c.shards.Offer(want, mesh.AnyForm); ok {
		m, err := record.DecodeManifest(signed)
		if err != nil {
			return transport.Offer{}, err
		}
		// A delta may be here before the whole is.
		if delta, ok := transport.ChooseForm(m, c.formsAtHand(m), wish); ok && m.Forms[delta].Size <= mesh.WholeLimit {
			return c.offerWhole(ctx, signed, m.Forms[delta], delta)
		}
		return transport.OfferIndex(signed, form, index, wish)
	}
	v, err := c.store.Version(ctx, want.Config, want.Version)
	if err != nil {
		return transport.Offer{}, err
	}
	form, ok := transport.ChooseForm(v.Manifest, c.formsAtHand(v.Manifest), wish)
	if !ok {
		return transport.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, transport.ErrNoForm)
	}
	if v.Manifest.Forms[form].Size > mesh.WholeLimit {
		index, err := c.shards.Index(record.FormKey{VersionKey: want, Form: form})
		if err != nil {
			return transport.Offer{}, err
		}
		return transport.OfferIndex(v.Raw, form, index, wish)
	}
	return c.offerWhole(ctx, v.Raw, v.Manifest.Forms[form], form)
}

// offerWhole offers a form in one piece.
func (c *Coordinator) offerWhole(ctx context.Context, signed []byte, f record.Form, form uint8) (transport.Offer, error) {
	r, size, err := c.blobs.Open(ctx, f.SHA256)
	return transport.Offer{Manifest: signed, What: transport.ContentForm, Form: form, Size: size, Bytes: r}, err
}

// offered verifies the manifest of an offer and finds its form.
func (c *Coordinator) offered(want record.VersionKey, o transport.Offer) (m record.Manifest, f record.Form, err error) {
	m, err = c.cfg.Identity.Policy.VerifyManifestOf(o.Manifest, want.Config, want.Version)
	if err != nil {
		return m, f, err
	}
	if int(o.Form) >= len(m.Forms) || m.Forms[o.Form].Base != 0 {
		return m, f, fmt.Errorf("%w: form %d of %s version %d was not asked for", record.ErrInvalid, o.Form, want.Config, want.Version)
	}
	f = m.Forms[o.Form]
	if o.What == transport.ContentBody && f.Encoding != record.EncodingIdentity {
		return m, f, fmt.Errorf("%w: a body instead of a form", record.ErrInvalid)
	}
	if o.What != transport.ContentIndex && f.Size != o.Size {
		err = fmt.Errorf("%w: the peer offers %d bytes, the manifest says %d", record.ErrChecksum, o.Size, f.Size)
	}
	return m, f, err
}

// StoreBody implements transport.BodyReceiver.
func (c *Coordinator) StoreBody(ctx context.Context, want record.VersionKey, o transport.Offer) (uint8, error) {
	m, f, err := c.offered(want, o)
	if err != nil {
		return 0, err
	}
	if err := c.blobs.Put(ctx, f.SHA256, f.Size, o.Bytes); err != nil {
		return 0, err
	}
	return c.importVersion(ctx, m, o.Manifest)
}

// importVersion keeps a version whose first form is here.
func (c *Coordinator) importVersion(ctx context.Context, m record.Manifest, signed []byte) (uint8, error) {
	c.mirrorDeltas(ctx, m)
	revision, err := c.store.Revision(ctx)
	if err != nil {
		return 0, err
	}
	return c.formsAtHand(m), c.store.ImportManifest(ctx, m, signed, revision)
}

// mirrorDeltas fetches the other forms of a version from the leader, if they are not
// here: agents who have the base need no more.
func (c *Coordinator) mirrorDeltas(ctx context.Context, m record.Manifest) {
	for _, f := range m.Forms[1:] {
		if err := c.mirrorBlob(ctx, f); err != nil {
			c.log.Warn("a delta was not mirrored; agents of this region fetch the whole", "config", m.Config, "version", m.Version, "error", err)
		}
	}
}

func (c *Coordinator) mirrorBlob(ctx context.Context, f record.Form) error {
	if c.blobs.Has(f.SHA256) {
		return nil
	}
	r, err := c.leader.Blob(ctx, f.SHA256)
	if err != nil {
		return err
	}
	defer r.Close()
	return c.blobs.Put(ctx, f.SHA256, f.Size, r)
}

// BeginForm implements transport.BodyReceiver.
func (c *Coordinator) BeginForm(ctx context.Context, want record.VersionKey, o transport.Offer) (info mesh.FormInfo, have *bitset.BitSet, err error) {
	m, f, err := c.offered(want, o)
	if err != nil {
		return info, nil, err
	}
	index, err := transport.ReadIndex(o)
	if err != nil {
		return info, nil, err
	}
	c.mirrorDeltas(ctx, m)
	have, err = c.shards.Begin(record.FormKey{VersionKey: want, Form: o.Form}, f, o.Manifest, index)
	return mesh.FormInfo{Size: f.Size, Geometry: f.Geometry}, have, err
}

// PutShard implements transport.BodyReceiver.
func (c *Coordinator) PutShard(key record.FormKey, n int, shard []byte) ([]int, error) {
	return c.shards.Put(key, n, shard)
}

// GetShard implements transport.BodyServer.
func (c *Coordinator) GetShard(key record.FormKey, n int, buf []byte) ([]byte, error) {
	shard, err := c.shards.Get(key, n, buf)
	if err == nil {
		c.metrics.shardBytes.Add(len(shard))
	}
	return shard, err
}

// Assemble implements transport.BodyReceiver.
func (c *Coordinator) Assemble(ctx context.Context, key record.FormKey) (uint8, error) {
	_, signed, _, ok := c.shards.Offer(key.VersionKey, mesh.AnyForm)
	if !ok {
		return 0, fmt.Errorf("%s version %d: nothing has come of it", key.Config, key.Version)
	}
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return 0, err
	}
	path, _, err := c.shards.Finish(key)
	if err == nil {
		err = c.blobs.Adopt(path, m.Forms[key.Form].SHA256)
	}
	if errors.Is(err, record.ErrChecksum) {
		err = errors.Join(err, c.shards.Drop(key.VersionKey))
	}
	if err != nil {
		return 0, err
	}
	if err := c.shards.Keep(key); err != nil {
		return 0, err
	}
	return c.importVersion(ctx, m, signed)
}

// Abandon implements transport.BodyReceiver.
func (c *Coordinator) Abandon(want record.VersionKey) { c.shards.Drop(want) }

// putBody takes the bytes of a form.
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
