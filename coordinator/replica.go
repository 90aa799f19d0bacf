package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/body"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
	"banyan/versionstore"
)

// replica is what a following coordinator keeps of the leader's store. It implements
// transport.BodyReceiver and transport.PointerOwner.
type replica struct {
	policy  *record.Policy
	library *library
	store   replicaStore
	shards  *shardstore.Store
	leader  blobSource
	tracker *tracker
	log     *slog.Logger
}

// replicaStore is the part of a version store that a replica writes to.
type replicaStore interface {
	ImportManifest(ctx context.Context, m record.Manifest, raw []byte, revision uint64) error
	ImportPointer(ctx context.Context, p record.Pointer, raw []byte, revision uint64) error
	Revision(ctx context.Context) (uint64, error)
}

// blobSource reads forms from the leader.
type blobSource interface {
	Blob(ctx context.Context, digest record.Digest) (io.ReadCloser, error)
}

// verify checks an offer. A replica takes only what it asked for: a form without a base, or
// the body if that is what the first form holds.
func (r *replica) verify(want record.VersionKey, o body.Offer) (body.Verified, error) {
	v, err := o.Verify(r.policy, want)
	if err != nil {
		return v, err
	}
	if !v.Described.Base.IsZero() {
		return v, fmt.Errorf("%w: %s version %d: form %d is a delta", body.ErrMismatch, want.Config, want.Version, o.Form)
	}
	if o.What == body.ContentBody && v.Manifest.Forms[0].Encoding != record.EncodingIdentity {
		return v, fmt.Errorf("%w: %s version %d: a body instead of a form", body.ErrMismatch, want.Config, want.Version)
	}
	return v, nil
}

// StoreBody implements transport.BodyReceiver.
func (r *replica) StoreBody(ctx context.Context, want record.VersionKey, o body.Offer) (uint8, error) {
	v, err := r.verify(want, o)
	if err != nil {
		return 0, err
	}
	if err := r.library.blobs.Put(ctx, v.Described.SHA256, v.Described.Size, o.Bytes); err != nil {
		return 0, err
	}
	return r.importVersion(ctx, v.Manifest, o.Signed)
}

// BeginForm implements transport.BodyReceiver.
func (r *replica) BeginForm(ctx context.Context, want record.VersionKey, o body.Offer) (step.FormInfo, *bitset.BitSet, error) {
	v, err := r.verify(want, o)
	if err != nil {
		return step.FormInfo{}, nil, err
	}
	// The index is read first: the peer waits for it to be taken.
	info, have, err := v.Begin(r.shards)
	if err == nil {
		r.mirrorDeltas(ctx, v.Manifest)
	}
	return info, have, err
}

// PutShard implements transport.BodyReceiver.
func (r *replica) PutShard(key record.FormKey, n int, shard []byte) ([]int, error) {
	return r.shards.Put(key, n, shard)
}

// Assemble implements transport.BodyReceiver.
func (r *replica) Assemble(ctx context.Context, key record.FormKey) (forms uint8, err error) {
	var arrived body.Arrived
	err = body.Assemble(r.shards, key, func(a body.Arrived) error {
		arrived = a
		return r.library.blobs.Adopt(a.Path, a.Form.SHA256)
	})
	if err != nil {
		return 0, err
	}
	return r.importVersion(ctx, arrived.Manifest, arrived.Signed)
}

// Abandon implements transport.BodyReceiver.
func (r *replica) Abandon(want record.VersionKey) {
	if err := r.shards.Drop(want); err != nil {
		r.log.Warn("shards of an abandoned version not deleted", "config", want.Config, "version", want.Version, "error", err)
	}
}

// importVersion stores the manifest of a version whose first form is in the library. It
// returns the forms that can be served.
func (r *replica) importVersion(ctx context.Context, m record.Manifest, signed []byte) (uint8, error) {
	r.mirrorDeltas(ctx, m)
	revision, err := r.store.Revision(ctx)
	if err != nil {
		return 0, err
	}
	return r.library.Forms(m), r.store.ImportManifest(ctx, m, signed, revision)
}

// mirrorDeltas copies the deltas of a version from the leader, so that agents which have
// the base need not fetch the whole. A failure is only logged: a delta is never needed.
func (r *replica) mirrorDeltas(ctx context.Context, m record.Manifest) {
	for _, f := range m.Forms[1:] {
		if err := r.mirrorBlob(ctx, f); err != nil {
			r.log.Warn("delta not copied from the leader; agents of this region fetch the whole body",
				"config", m.Config, "version", m.Version, "error", err)
		}
	}
}

func (r *replica) mirrorBlob(ctx context.Context, f record.Form) error {
	if r.library.blobs.Has(f.SHA256) {
		return nil
	}
	blob, err := r.leader.Blob(ctx, f.SHA256)
	if err != nil {
		return err
	}
	defer blob.Close()
	return r.library.blobs.Put(ctx, f.SHA256, f.Size, blob)
}

// Activate implements transport.PointerOwner. It stores the pointer; a coordinator shows no
// files.
func (r *replica) Activate(a *wire.Announcement, _ record.Ref, done func(why step.Failure, latencyMicros int64)) {
	go func() {
		err := r.store.ImportPointer(context.Background(), a.Pointer, a.Raw, a.Revision)
		latency := time.Now().UnixMicro() - a.Pointer.TimeMicros
		if err != nil {
			r.log.Error("pointer not stored", "config", a.Pointer.Config, "epoch", a.Pointer.Epoch, "error", err)
			done(step.Failure{Reason: err.Error(), Fault: step.FaultHost}, latency)
			return
		}
		done(step.Failure{}, latency)
	}()
}

// restore gives node the pointers and versions that are in the store.
func (r *replica) restore(ctx context.Context, node *mesh.Node, coordinator, region string) error {
	pointers, err := versionstore.AllPointers(ctx, r.library.store, region)
	if errors.Is(err, versionstore.ErrCorrupt) {
		// The leader sends every pointer again.
		r.log.Error("some pointers in the replica are damaged", "error", err)
		err = nil
	}
	if err != nil {
		return err
	}
	for _, p := range pointers {
		node.Step(0, step.Input{
			Kind: step.InRestore,
			Pointer: step.Pointer{
				Announcement: wire.NewAnnouncement(p.Revision, p.Raw, p.Pointer),
				Version:      p.Pointer.VersionFor(coordinator, nil),
			},
		}, nil)
		r.tracker.moved(p.Pointer)
		if err := r.restoreVersions(ctx, node, p.Pointer.Config); err != nil {
			return err
		}
	}
	// A crash may have separated two pointers that were imported out of order. The follower
	// asks for every pointer again, once; that costs a few hundred bytes for each config.
	node.Step(0, step.Input{Kind: step.InResume, Revision: 0}, nil)
	return nil
}

// restoreVersions gives node the versions of config whose first form is in the library. There are
// none of a config that was deleted before this follower fetched a version, or whose versions were
// collected.
func (r *replica) restoreVersions(ctx context.Context, node *mesh.Node, config string) error {
	versions, err := versionstore.AllVersions(ctx, r.library.store, config)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
		return err
	}
	for _, v := range versions {
		forms := r.library.Forms(v.Manifest)
		if forms&1 == 0 {
			continue
		}
		node.Step(0, step.Input{Kind: step.InHold, Body: step.Body{Version: v.Manifest.Key(), Forms: forms}}, nil)
	}
	return nil
}
