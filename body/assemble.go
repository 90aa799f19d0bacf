package body

import (
	"errors"
	"fmt"

	"banyan/forms"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
)

// Arrived is a form whose shards are all on disk and whose bytes match the manifest.
type Arrived struct {
	// Key names the version and the form.
	Key record.FormKey
	// Manifest is the manifest of the version, verified at the arrival of the index.
	Manifest record.Manifest
	// Signed is the manifest as signed.
	Signed []byte
	// Form describes the bytes.
	Form record.Form
	// Path is the file with the bytes, to be moved by the owner.
	Path string
	// Index is the shard index of the form.
	Index []byte
}

// Assemble checks the complete form key of store and calls adopt, which moves the file to
// the versions of the owner. Afterwards store serves the shards from there.
//
// If the bytes do not match the manifest, or the base of a delta is missing, Assemble drops
// all shards of the version: the node fetches the version again.
func Assemble(store *shardstore.Store, key record.FormKey, adopt func(Arrived) error) error {
	_, signed, _, ok := store.Offer(key.VersionKey, wire.AnyForm)
	if !ok {
		return fmt.Errorf("assemble %s version %d: %w", key.Config, key.Version, shardstore.ErrUnknown)
	}
	err := assemble(store, key, signed, adopt)
	if errors.Is(err, record.ErrChecksum) || errors.Is(err, forms.ErrBase) {
		err = errors.Join(err, store.Drop(key.VersionKey))
	}
	if err != nil {
		return err
	}
	return store.Keep(key)
}

func assemble(store *shardstore.Store, key record.FormKey, signed []byte, adopt func(Arrived) error) error {
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return err
	}
	form, err := FormOf(m, key.Form)
	if err != nil {
		return err
	}
	path, index, err := store.Finish(key)
	if err != nil {
		return err
	}
	return adopt(Arrived{
		Key:      key,
		Manifest: m,
		Signed:   signed,
		Form:     form,
		Path:     path,
		Index:    index,
	})
}
