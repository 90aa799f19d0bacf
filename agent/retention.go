package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	// proven returns the versions of a config that were the baseline of a pointer and were not
	// taken back, the latest first.
	proven func(config string) []record.Ref
	keep   int   // versions of a config
	quota  int64 // bytes of all versions and shards; 0: no quota
	log    *slog.Logger
	// deleted is called for each version after the directory is deleted.
	deleted func(record.VersionKey)

	room sync.Mutex // held while room is made
}

// prune deletes the versions of config but keep, and but the versions that the host needs.
func (r *retention) prune(config string) {
	r.remove(config, func(held []record.Ref) map[record.Ref]bool {
		return keptVersions(held, r.proven(config), r.keep)
	})
}

// clear deletes every version of a deleted config but the one that readers still see.
func (r *retention) clear(config string) {
	r.remove(config, func([]record.Ref) map[record.Ref]bool { return nil })
	r.output.removeEmpty(config)
}

// remove deletes the versions of config that kept does not choose, and that the host does not need.
func (r *retention) remove(config string, kept func(held []record.Ref) map[record.Ref]bool) {
	deleted, err := r.output.prune(config, kept, r.needs)
	if err != nil {
		r.log.Warn("old versions not deleted", "config", config, "error", err)
	}
	for _, v := range deleted {
		r.deleted(v)
	}
}

// needs reports whether v must stay on disk: the host needs it, or readers see it.
func (r *retention) needs(v record.VersionKey) bool {
	return r.applied.needs(v) || r.output.config(v.Config).shows(r.output.version(v))
}

// keptVersions chooses keep of the held versions: those that were proven, the latest first, and
// then those with the highest numbers. A rollback goes to a proven version, and failed rollouts
// must not push it out. held is ordered by number, the highest first.
//
// For example, versions 1 and 2 ran and 3 to 9 were taken back: of three, 2, 1 and 9 stay.
func keptVersions(held, proven []record.Ref, keep int) map[record.Ref]bool {
	kept := map[record.Ref]bool{}
	for _, list := range [][]record.Ref{proven, held} {
		for _, v := range list {
			if len(kept) < keep && slices.Contains(held, v) {
				kept[v] = true
			}
		}
	}
	return kept
}

// makeRoom deletes versions until size more bytes fit the quota: first versions that were never
// proven, oldest first, and then the proven ones, oldest first. makeRoom never deletes an applied
// version or a version in a pointer.
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
	slices.SortStableFunc(all, func(a, b storedVersion) int { return r.rank(a) - r.rank(b) })
	for _, v := range all {
		if used+size <= r.quota {
			return nil
		}
		if r.needs(v.key) {
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

// rank returns 1 for a proven version, and 0 for another one.
func (r *retention) rank(v storedVersion) int {
	if slices.Contains(r.proven(v.key.Config), v.key.Ref()) {
		return 1
	}
	return 0
}

func (r *retention) evict(v record.VersionKey) error {
	r.log.Info("version deleted to stay within the disk quota", "config", v.Config, "version", v.Version)
	if err := r.output.version(v).remove(); err != nil {
		return err
	}
	r.deleted(v)
	return nil
}
