package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/bits-and-blooms/bitset"

	"banyan/body"
	"banyan/fec"
	"banyan/forms"
	"banyan/mesh/step"
	"banyan/mesh/swarm"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
)

// bodies receives the bodies of subscribed configs, keeps shards of other
// configs for other hosts, and serves both. It implements transport.BodyServer,
// transport.BodyReceiver and transport.FormCache.
type bodies struct {
	policy        *record.Policy
	subscriptions wire.Subscriptions
	output        *outputDir
	shards        *shardstore.Store // forms on their way, and forms in the output directory
	cache         *shardstore.Store // forms of configs without a subscription
	retention     *retention
	metrics       *agentMetrics
	log           *slog.Logger
	lost          func(record.VersionKey)              // makes the node fetch a version again
	hold          func(v record.VersionKey, set uint8) // makes the node serve a set of forms
}

// openCache deletes the content of dir and opens a store there. The cache starts empty because
// every shard can be fetched again.
func openCache(dir string, reserve int64) (*shardstore.Store, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return shardstore.Open(dir, reserve, func(key record.FormKey) (*os.File, record.Form, fec.Index, error) {
		err := fmt.Errorf("%s version %d: %w", key.Config, key.Version, shardstore.ErrUnknown)
		return nil, record.Form{}, nil, err
	})
}

// storeOf returns the store for shards of config.
func (b *bodies) storeOf(config string) *shardstore.Store {
	if b.subscriptions.Include(config) {
		return b.shards
	}
	return b.cache
}

// StoreBody implements transport.BodyReceiver.
func (b *bodies) StoreBody(_ context.Context, want record.VersionKey, o body.Offer) (forms uint8, err error) {
	v, err := o.Verify(b.policy, want)
	if err != nil {
		return 0, err
	}
	if err := b.retention.makeRoom(v.Manifest.BodySize + v.Described.Size); err != nil {
		return 0, err
	}
	base, err := b.base(want.Config, v.Described)
	if err != nil {
		return 0, err
	}
	err = b.output.stage(v.Manifest, o.Signed, func(s *staging) error {
		return s.writeFormAndBody(v.Described, o.Form, o.Bytes, base)
	})
	if err != nil {
		return 0, err
	}
	return b.output.version(want).forms(v.Manifest), nil
}

// base reads the base of the delta f; nil if f is no delta.
func (b *bodies) base(config string, f record.Form) ([]byte, error) {
	if f.Base.IsZero() {
		return nil, nil
	}
	file, err := b.output.version(f.Base.Of(config)).open()
	if err != nil {
		return nil, fmt.Errorf("%w: version %d: %w", forms.ErrBase, f.Base.Version, err)
	}
	defer file.Close()
	return forms.ReadBase(f.Base, file)
}

// BeginForm implements transport.BodyReceiver.
func (b *bodies) BeginForm(
	_ context.Context, want record.VersionKey, o body.Offer,
) (step.FormInfo, *bitset.BitSet, error) {
	v, err := o.Verify(b.policy, want)
	if err != nil {
		return step.FormInfo{}, nil, err
	}
	if err := b.retention.makeRoom(v.Described.Size); err != nil {
		return step.FormInfo{}, nil, err
	}
	return v.Begin(b.shards)
}

// PutShard implements transport.BodyReceiver.
func (b *bodies) PutShard(key record.FormKey, n int, shard []byte) (restored []int, err error) {
	restored, err = b.storeOf(key.Config).Put(key, n, shard)
	if err != nil {
		return nil, err
	}
	if b.subscriptions.Include(key.Config) {
		b.metrics.shards.Inc() // duplicates are counted when the node reports them
		b.metrics.bodyBytes.Add(len(shard))
	} else {
		b.metrics.cached.Inc()
	}
	return restored, nil
}

// Assemble implements transport.BodyReceiver.
func (b *bodies) Assemble(_ context.Context, key record.FormKey) (forms uint8, err error) {
	var m record.Manifest
	err = body.Assemble(b.shards, key, func(a body.Arrived) error {
		m = a.Manifest
		base, err := b.base(key.Config, a.Form)
		if err != nil {
			return err
		}
		return b.output.stage(a.Manifest, a.Signed, func(s *staging) error {
			return s.adopt(a.Form, key.Form, a.Path, a.Index, base)
		})
	})
	if err != nil {
		return 0, err
	}
	return b.output.version(key.VersionKey).forms(m), nil
}

// Abandon implements transport.BodyReceiver.
func (b *bodies) Abandon(want record.VersionKey) {
	if err := b.storeOf(want.Config).Drop(want); err != nil {
		b.log.Warn("shards of an abandoned version not deleted",
			"config", want.Config, "version", want.Version, "error", err)
	}
}

// GetShard implements transport.BodyServer.
func (b *bodies) GetShard(key record.FormKey, n int, buf []byte) ([]byte, error) {
	shard, err := b.storeOf(key.Config).Get(key, n, buf)
	switch {
	case !b.subscriptions.Include(key.Config):
		if err == nil {
			b.metrics.cacheServed.Inc()
		}
	case err != nil:
		b.heal(key.VersionKey)
	}
	return shard, err
}

// OpenBody implements transport.BodyServer.
func (b *bodies) OpenBody(ctx context.Context, want record.VersionKey, wish body.Wish) (body.Offer, error) {
	if !b.subscriptions.Include(want.Config) {
		return b.openCached(want, wish)
	}
	server := body.Server{Library: library{b.output}, Arriving: b.shards}
	o, err := server.Open(ctx, want, wish)
	if err != nil && b.heal(want) {
		return server.Open(ctx, want, wish)
	}
	return o, err
}

// openCached offers the form that serves wish best, if the cache has it: in one piece if the
// form is small and complete, else by the index. If the cache has another form only, openCached
// returns a body.OtherFormError, and the node fetches the better form.
func (b *bodies) openCached(want record.VersionKey, wish body.Wish) (body.Offer, error) {
	_, signed, _, ok := b.cache.Offer(want, wire.AnyForm)
	if !ok {
		return body.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, shardstore.ErrUnknown)
	}
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return body.Offer{}, err
	}
	n, ok := body.Choose(m, body.AllForms, wish)
	if !ok {
		return body.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, body.ErrNoForm)
	}
	_, _, index, ok := b.cache.Offer(want, wire.OnlyForm(n))
	if !ok {
		return body.Offer{}, &body.OtherFormError{Form: n}
	}
	if f := m.Forms[n]; f.Size <= swarm.WholeLimit {
		file, err := b.cache.OpenWhole(record.FormKey{VersionKey: want, Form: n})
		if err == nil {
			return body.Offer{Signed: signed, What: body.ContentForm, Form: n, Size: f.Size, Bytes: file}, nil
		}
	}
	return body.OfferIndex(signed, n, index, wish)
}

// CacheForm implements transport.FormCache.
func (b *bodies) CacheForm(
	_ context.Context, want record.VersionKey, choice wire.FormChoice, o body.Offer,
) (step.FormInfo, *bitset.BitSet, error) {
	v, err := o.Verify(b.policy, want)
	if err != nil {
		return step.FormInfo{}, nil, err
	}
	if o.What == body.ContentBody || !choice.Allows(o.Form) {
		return step.FormInfo{}, nil, fmt.Errorf("%w: %s version %d: form %d",
			body.ErrMismatch, want.Config, want.Version, o.Form)
	}
	if o.What == body.ContentIndex {
		return v.Begin(b.cache)
	}
	have, err := b.cacheWhole(v)
	return v.Info(), have, err
}

// cacheWhole stores a form offered in one piece, as if every shard had come.
func (b *bodies) cacheWhole(v body.Verified) (*bitset.BitSet, error) {
	f := v.Described
	if f.Size > swarm.WholeLimit {
		return nil, fmt.Errorf("%w: a form of %d bytes in one piece", record.ErrTooLarge, f.Size)
	}
	encoded, err := io.ReadAll(io.LimitReader(v.Bytes, f.Size))
	if err != nil {
		return nil, err
	}
	index, err := forms.Verify(f, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	if _, err := b.cache.Begin(v.Key, f, v.Signed, index.Bytes()); err != nil {
		return nil, err
	}
	return b.cache.Fill(v.Key, encoded)
}
