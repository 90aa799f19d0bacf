package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"banyan/record"
	"banyan/versionstore"
)

// planRemoval adds a removal. It reads which versions are in use, and makes it a condition that nothing
// of that changes.
func (s *Store) planRemoval(ctx context.Context, p *plan, r versionstore.Removal) error {
	held, err := s.versionsInUse(ctx, r.Config)
	if err != nil {
		return err
	}
	p.refusal = held.refusal(r)
	if p.refusal != nil {
		return nil
	}
	newest := s.keys.name(tagNewest, r.Config)
	p.require(condition{cmp: clientv3.Compare(clientv3.ModRevision(newest), "=", held.newestAt), key: newest})
	epochs := s.keys.pair(tagEpoch, r.Config, "")
	p.require(condition{
		cmp: clientv3.Compare(clientv3.ModRevision(epochs), "<", held.at+1).WithPrefix(),
		key: newest,
	})
	for _, version := range r.Versions {
		row := s.keys.numbered(tagManifest, r.Config, version)
		p.require(condition{cmp: clientv3.Compare(clientv3.CreateRevision(row), ">", 0), key: row})
		p.write(
			clientv3.OpDelete(row),
			clientv3.OpDelete(s.keys.numbered(tagDigest, r.Config, version)),
		)
	}
	if len(r.Versions) == len(held.versions) {
		p.write(clientv3.OpDelete(newest))
	}
	return nil
}

// uses are the versions of a config and what names them, at one revision of etcd.
type uses struct {
	config   string
	at       int64 // the revision of etcd
	versions map[uint64]bool
	newest   uint64
	newestAt int64
	pointers []record.Pointer
}

// versionsInUse reads the versions of a config and the pointers that may name them.
func (s *Store) versionsInUse(ctx context.Context, config string) (*uses, error) {
	u := &uses{config: config, versions: map[uint64]bool{}}
	answer, err := s.get(ctx, s.keys.name(tagNewest, config))
	if err != nil {
		return nil, err
	}
	u.at = answer.Header.Revision
	for _, kv := range answer.Kvs {
		u.newest = number(kv.Value)
		u.newestAt = kv.ModRevision
	}
	then := clientv3.WithRev(u.at)
	versions := s.keys.pair(tagManifest, config, "")
	err = s.names(ctx, versions, end(versions), func(kv *mvccpb.KeyValue) bool {
		_, _, version := s.keys.split(string(kv.Key))
		u.versions[number([]byte(version))] = true
		return true
	}, then, clientv3.WithKeysOnly())
	if err != nil {
		return nil, unlessCompacted(err)
	}
	var regions []string
	epochs := s.keys.pair(tagEpoch, config, "")
	err = s.names(ctx, epochs, end(epochs), func(kv *mvccpb.KeyValue) bool {
		_, _, region := s.keys.split(string(kv.Key))
		regions = append(regions, region)
		return true
	}, then, clientv3.WithKeysOnly())
	if err != nil {
		return nil, unlessCompacted(err)
	}
	for _, region := range regions {
		state, err := s.Pointer(ctx, config, region)
		if errors.Is(err, versionstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u.pointers = append(u.pointers, state.Pointer)
	}
	return u, nil
}

// refusal returns why versions can't be removed; nil if they can.
func (u *uses) refusal(r versionstore.Removal) error {
	removed := map[uint64]bool{}
	for _, version := range r.Versions {
		removed[version] = true
	}
	for _, p := range u.pointers {
		for _, ref := range []record.Ref{p.Baseline, p.Candidate} {
			if removed[ref.Version] {
				return fmt.Errorf("%w: the pointer of region %s names version %d of %s",
					versionstore.ErrInUse, p.Region, ref.Version, u.config)
			}
		}
	}
	for _, version := range r.Versions {
		if !u.versions[version] {
			return fmt.Errorf("%s version %d: %w", u.config, version, versionstore.ErrNotFound)
		}
	}
	if removed[u.newest] && len(u.versions) > len(removed) {
		return fmt.Errorf("%w: version %d is the newest of %s", versionstore.ErrInUse, u.newest, u.config)
	}
	return nil
}

// unlessCompacted makes an error about a compacted revision one that says to try again.
func unlessCompacted(err error) error {
	if errors.Is(err, versionstore.ErrUnavailable) || !isCompacted(err) {
		return err
	}
	return fmt.Errorf("%w: etcd was compacted during the read; try again", versionstore.ErrUnavailable)
}
