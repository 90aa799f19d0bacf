package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/bits-and-blooms/bitset"

	"banyan/fec"
	"banyan/forms"
	"banyan/mesh"
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport"
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
func (a *Agent) CacheForm(_ context.Context, want record.VersionKey, choice mesh.FormChoice, o transport.Offer) (info mesh.FormInfo, have *bitset.BitSet, err error) {
	_, f, err := a.offered(want, o)
	if err != nil {
		return info, nil, err
	}
	if o.What == transport.ContentBody || !choice.Allows(o.Form) {
		return info, nil, fmt.Errorf("%w: not the form that was asked for", record.ErrInvalid)
	}
	key := record.FormKey{VersionKey: want, Form: o.Form}
	if o.What == transport.ContentForm {
		have, err = a.cacheWhole(key, f, o)
	} else if index, readErr := transport.ReadIndex(o); readErr != nil {
		err = readErr
	} else {
		have, err = a.cache.Begin(key, f, o.Manifest, index)
	}
	return mesh.FormInfo{Size: f.Size, Geometry: f.Geometry}, have, err
}

// cacheWhole keeps a form that is offered in one piece, as one whose shards have all come.
func (a *Agent) cacheWhole(key record.FormKey, f record.Form, o transport.Offer) (*bitset.BitSet, error) {
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
	if _, err := a.cache.Begin(key, f, o.Manifest, index.Bytes()); err != nil {
		return nil, err
	}
	return a.cache.Fill(key, encoded)
}

// openCached offers the form that serves a wish best, if it is here: whole, if it is
// small and all of it is here.
func (a *Agent) openCached(want record.VersionKey, wish transport.Wish) (transport.Offer, error) {
	_, signed, _, ok := a.cache.Offer(want, mesh.AnyForm)
	if !ok {
		return transport.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, shardstore.ErrUnknown)
	}
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return transport.Offer{}, err
	}
	form, ok := transport.ChooseForm(m, transport.AllForms, wish)
	if !ok {
		return transport.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, transport.ErrNoForm)
	}
	_, _, index, ok := a.cache.Offer(want, mesh.OnlyForm(form))
	if !ok {
		return transport.Offer{}, &transport.OtherFormError{Form: form}
	}
	if f := m.Forms[form]; f.Size <= mesh.WholeLimit {
		file, err := a.cache.OpenWhole(record.FormKey{VersionKey: want, Form: form})
		if err == nil {
			return transport.Offer{Manifest: signed, What: transport.ContentForm, Form: form, Size: f.Size, Bytes: file}, nil
		}
	}
	return transport.OfferIndex(signed, form, index, wish)
}
