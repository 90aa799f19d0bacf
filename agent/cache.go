package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/bits-and-blooms/bitset"

	"banyan/body"
	"banyan/fec"
	"banyan/forms"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
)

// The cache is where shards are kept of configs that this host does not subscribe to,
// for those who ask for them. The node decides what is fetched and what goes. It begins
// empty: all of it can be had again.

// openCache empties the cache.
func openCache(dir string, reserve int64) (*shardstore.Store, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return shardstore.Open(dir, reserve, func(key record.FormKey) (*os.File, record.Form, fec.Index, error) {
		return nil, record.Form{}, nil, fmt.Errorf("%s version %d: %w", key.Config, key.Version, shardstore.ErrUnknown)
	})
}

// storeOf is where shards of a config are.
func (a *Agent) storeOf(config string) *shardstore.Store {
	if a.subscribes(config) {
		return a.shards
	}
	return a.cache
}

// CacheForm implements transport.FormCache.
func (a *Agent) CacheForm(_ context.Context, want record.VersionKey, choice wire.FormChoice, o body.Offer) (info step.FormInfo, have *bitset.BitSet, err error) {
	v, err := o.Verify(a.cfg.Identity.Policy, want)
	if err != nil {
		return info, nil, err
	}
	if o.What == body.ContentBody || !choice.Allows(o.Form) {
		return info, nil, fmt.Errorf("%w: not the form that was asked for", body.ErrMismatch)
	}
	if o.What == body.ContentIndex {
		return v.Begin(a.cache)
	}
	have, err = a.cacheWhole(v.Key, v.Described, o)
	return v.Info(), have, err
}

// cacheWhole keeps a form that is offered in one piece, as one whose shards have all come.
func (a *Agent) cacheWhole(key record.FormKey, f record.Form, o body.Offer) (*bitset.BitSet, error) {
	if f.Size > mesh.WholeLimit {
		return nil, fmt.Errorf("%w: a form of %d bytes in one piece", record.ErrTooLarge, f.Size)
	}
	encoded, err := io.ReadAll(io.LimitReader(o.Bytes, f.Size))
	if err != nil {
		return nil, err
	}
	index, err := forms.Verify(f, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	if _, err := a.cache.Begin(key, f, o.Signed, index.Bytes()); err != nil {
		return nil, err
	}
	return a.cache.Fill(key, encoded)
}

// openCached offers the form that serves a wish best, if it is here: whole, if it is
// small and all of it is here.
func (a *Agent) openCached(want record.VersionKey, wish body.Wish) (body.Offer, error) {
	_, signed, _, ok := a.cache.Offer(want, wire.AnyForm)
	if !ok {
		return body.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, shardstore.ErrUnknown)
	}
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return body.Offer{}, err
	}
	form, ok := body.Choose(m, body.AllForms, wish)
	if !ok {
		return body.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, body.ErrNoForm)
	}
	_, _, index, ok := a.cache.Offer(want, wire.OnlyForm(form))
	if !ok {
		return body.Offer{}, &body.OtherFormError{Form: form}
	}
	if f := m.Forms[form]; f.Size <= mesh.WholeLimit {
		file, err := a.cache.OpenWhole(record.FormKey{VersionKey: want, Form: form})
		if err == nil {
			return body.Offer{Signed: signed, What: body.ContentForm, Form: form, Size: f.Size, Bytes: file}, nil
		}
	}
	return body.OfferIndex(signed, form, index, wish)
}
