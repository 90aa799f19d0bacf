package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bits-and-blooms/bitset"

	"banyan/body"
	"banyan/forms"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// StoreBody implements transport.BodyReceiver: verify the manifest, then stage.
func (a *Agent) StoreBody(_ context.Context, want record.VersionKey, o body.Offer) (uint8, error) {
	v, err := o.Verify(a.cfg.Identity.Policy, want)
	if err != nil {
		return 0, err
	}
	m, f := v.Manifest, v.Described
	if err := a.makeRoom(m.BodySize + f.Size); err != nil {
		return 0, err
	}
	base, err := a.base(want.Config, f)
	if err != nil {
		return 0, err
	}
	err = a.tree.stage(m, o.Signed, func(dir string) error {
		if f.Encoding == record.EncodingIdentity {
			return a.tree.writeBody(dir, m, f, o.Bytes, nil)
		}
		encoded, err := os.OpenFile(filepath.Join(dir, formFile(f, o.Form)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		defer encoded.Close()
		return a.tree.writeBody(dir, m, f, io.TeeReader(io.LimitReader(o.Bytes, f.Size), encoded), base)
	})
	if err != nil {
		return 0, err
	}
	return a.tree.forms(want), nil
}

// base reads the body that a form is a delta to; nil if it is none.
func (a *Agent) base(config string, f record.Form) ([]byte, error) {
	if f.Base == 0 {
		return nil, nil
	}
	r, err := a.tree.open(record.VersionKey{Config: config, Version: f.Base})
	if err != nil {
		return nil, fmt.Errorf("%w: version %d: %w", forms.ErrBase, f.Base, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, record.MaxDelta+1))
	if err == nil && len(b) > record.MaxDelta {
		err = fmt.Errorf("%w: version %d has more than %d bytes", forms.ErrBase, f.Base, record.MaxDelta)
	}
	return b, err
}

// BeginForm implements transport.BodyReceiver.
func (a *Agent) BeginForm(_ context.Context, want record.VersionKey, o body.Offer) (info step.FormInfo, have *bitset.BitSet, err error) {
	v, err := o.Verify(a.cfg.Identity.Policy, want)
	if err != nil {
		return info, nil, err
	}
	if err := a.makeRoom(v.Described.Size); err != nil {
		return info, nil, err
	}
	return v.Begin(a.shards)
}

// PutShard implements transport.BodyReceiver.
func (a *Agent) PutShard(key record.FormKey, n int, shard []byte) ([]int, error) {
	restored, err := a.storeOf(key.Config).Put(key, n, shard)
	switch {
	case err != nil:
	case a.subscribes(key.Config): // those that were there already are counted by the node
		a.metrics.shards.Inc()
		a.metrics.bodyBytes.Add(len(shard))
	default:
		a.metrics.cached.Inc()
	}
	return restored, err
}

// GetShard implements transport.BodyServer.
func (a *Agent) GetShard(key record.FormKey, n int, buf []byte) ([]byte, error) {
	shard, err := a.storeOf(key.Config).Get(key, n, buf)
	if err != nil {
		return nil, err
	}
	if !a.subscribes(key.Config) {
		a.metrics.cacheServed.Inc()
	}
	if a.cfg.TamperShard != nil {
		a.cfg.TamperShard(shard)
	}
	return shard, nil
}

// Shards is how many shards the agent has stored, and how many came that it had.
func (a *Agent) Shards() (stored, duplicates uint64) {
	return a.metrics.shards.Get(), a.metrics.duplicates.Get()
}

// Assemble implements transport.BodyReceiver: the bytes of the form move into the version's
// directory. If they are not what the manifest says, all of them are fetched again.
func (a *Agent) Assemble(_ context.Context, key record.FormKey) (uint8, error) {
	_, signed, _, ok := a.shards.Offer(key.VersionKey, wire.AnyForm)
	if !ok {
		return 0, fmt.Errorf("%s version %d: nothing has come of it", key.Config, key.Version)
	}
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return 0, err
	}
	if err = a.assemble(key, m, signed); err != nil {
		if errors.Is(err, record.ErrChecksum) || errors.Is(err, forms.ErrBase) {
			err = errors.Join(err, a.shards.Drop(key.VersionKey))
		}
		return 0, err
	}
	return a.tree.forms(key.VersionKey), a.shards.Keep(key)
}

func (a *Agent) assemble(key record.FormKey, m record.Manifest, signed []byte) error {
	f := m.Forms[key.Form]
	path, index, err := a.shards.Finish(key)
	if err != nil {
		return err
	}
	base, err := a.base(key.Config, f)
	if err != nil {
		return err
	}
	return a.tree.stage(m, signed, func(dir string) error {
		if f.Encoding != record.EncodingIdentity {
			encoded, err := os.Open(path)
			if err != nil {
				return err
			}
			defer encoded.Close()
			if err := a.tree.writeBody(dir, m, f, encoded, base); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, indexFile(key.Form)), index, 0o644); err != nil {
			return err
		}
		return os.Rename(path, filepath.Join(dir, formFile(f, key.Form)))
	})
}

// Abandon implements transport.BodyReceiver.
func (a *Agent) Abandon(want record.VersionKey) {
	if err := a.storeOf(want.Config).Drop(want); err != nil {
		a.log.Warn("what came of a version was not removed", "config", want.Config, "version", want.Version, "error", err)
	}
}

// OpenBody implements transport.BodyServer: of the forms that are here and that the asker
// can use the smallest, whole or by the shard; the body itself, if there is none.
func (a *Agent) OpenBody(_ context.Context, want record.VersionKey, wish body.Wish) (body.Offer, error) {
	if !a.subscribes(want.Config) {
		return a.openCached(want, wish)
	}
	if form, signed, index, ok := a.shards.Offer(want, wire.AnyForm); ok {
		return body.OfferIndex(signed, form, index, wish)
	}
	m, signed, err := a.tree.manifest(want)
	if err != nil {
		return body.Offer{}, err
	}
	if form, ok := body.Choose(m, a.tree.forms(want), wish); ok {
		return a.openForm(record.FormKey{VersionKey: want, Form: form}, m.Forms[form], signed, wish)
	}
	if wish.FormOnly {
		return body.Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, body.ErrNoForm)
	}
	f, err := a.tree.open(want)
	return body.Offer{Signed: signed, Size: m.BodySize, Bytes: f}, err
}

func (a *Agent) openForm(key record.FormKey, f record.Form, signed []byte, wish body.Wish) (body.Offer, error) {
	if f.Size > mesh.WholeLimit {
		index, err := a.shards.Index(key)
		if err != nil {
			return body.Offer{}, err
		}
		return body.OfferIndex(signed, key.Form, index, wish)
	}
	file, err := os.Open(filepath.Join(a.tree.versionPath(key.VersionKey), formFile(f, key.Form)))
	return body.Offer{Signed: signed, What: body.ContentForm, Form: key.Form, Size: f.Size, Bytes: file}, err
}

// named are the versions of a config that its pointer names.
type named struct{ baseline, candidate uint64 }

// name notes the versions that a pointer names: they are not evicted.
func (a *Agent) name(p *record.Pointer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.named[p.Config] = named{p.Baseline, p.Candidate}
}

func (a *Agent) isNamed(v record.VersionKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.named[v.Config]
	return v.Version == n.baseline || v.Version == n.candidate || v.Version == a.configs[v.Config].Version
}

// ErrQuota is returned when the versions that pointers name take all of the quota.
var ErrQuota = errors.New("disk quota is used up")

// makeRoom evicts versions, oldest first, until need more bytes fit the quota. What
// runs here, and what a pointer names, stays.
func (a *Agent) makeRoom(need int64) error {
	if a.cfg.DiskQuota == 0 {
		return nil
	}
	a.quota.Lock()
	defer a.quota.Unlock()
	used, err := a.shards.Size()
	if err != nil {
		return err
	}
	all, err := a.tree.all()
	if err != nil {
		return err
	}
	for _, s := range all {
		used += s.bytes
	}
	for len(all) > 0 && used+need > a.cfg.DiskQuota {
		s := all[0]
		if all = all[1:]; a.isNamed(s.key) {
			continue
		}
		if err := a.evict(s.key); err != nil {
			return err
		}
		used -= s.bytes
	}
	if used+need > a.cfg.DiskQuota {
		return fmt.Errorf("%w: %d bytes are needed, %d of %d are used by versions that run or are to run; raise --disk-quota", ErrQuota, need, used, a.cfg.DiskQuota)
	}
	return nil
}

func (a *Agent) evict(v record.VersionKey) error {
	a.log.Info("version evicted", "config", v.Config, "version", v.Version)
	if err := os.RemoveAll(a.tree.versionPath(v)); err != nil {
		return err
	}
	a.forget([]record.VersionKey{v})
	return nil
}
