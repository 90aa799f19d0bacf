package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"banyan/record"
	"banyan/shardstore"
)

// ErrQuota is returned if the needed versions use up the quota.
var ErrQuota = errors.New("disk quota is used up")

// retention decides which versions stay on disk.
type retention struct {
	output  *outputDir
	shards  *shardstore.Store // forms on their way; they count against the quota
	applied *appliedSet
	keep    int   // versions of a config
	quota   int64 // bytes of all versions and shards; 0: no quota
	log     *slog.Logger
	// deleted is called for each version after the directory is deleted.
	deleted func(record.VersionKey)

	room sync.Mutex // held while room is made
}

// prune deletes the versions of config beyond the newest keep, except versions that the host
// needs.
func (r *retention) prune(config string) {
	deleted, err := r.output.prune(config, r.keep, r.applied.needs)
	if err != nil {
		r.log.Warn("old versions not deleted", "config", config, "error", err)
	}
	for _, v := range deleted {
		r.deleted(v)
	}
}

// makeRoom deletes versions, oldest first, until size more bytes fit the quota. makeRoom never
// deletes an applied version or a version in a pointer.
//
// For example, with a quota of 100 MiB, 90 MiB in use and 20 MiB to come, versions are
// deleted until at most 80 MiB are in use.
func (r *retention) makeRoom(size int64) error {
	if r.quota == 0 {
		return nil
	}
	r.room.Lock()
	defer r.room.Unlock()
	used, err := r.shards.Size()
	if err != nil {
		return err
	}
	all, err := r.output.all()
	if err != nil {
		return err
	}
	for _, v := range all {
		used += v.bytes
	}
	for _, v := range all {
		if used+size <= r.quota {
			return nil
		}
		if r.applied.needs(v.key) {
			continue
		}
		if err := r.evict(v.key); err != nil {
			return err
		}
		used -= v.bytes
	}
	if used+size > r.quota {
		return fmt.Errorf("%w: %d bytes are needed, and needed versions use %d of %d bytes; raise --disk-quota",
			ErrQuota, size, used, r.quota)
	}
	return nil
}

func (r *retention) evict(v record.VersionKey) error {
	r.log.Info("version deleted to stay within the disk quota", "config", v.Config, "version", v.Version)
	if err := r.output.version(v).remove(); err != nil {
		return err
	}
	r.deleted(v)
	return nil
}
