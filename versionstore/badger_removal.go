package versionstore

import (
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

// removeVersions removes versions of a config with their entries in the log of revisions.
func removeVersions(txn *badger.Txn, r Removal) error {
	if err := checkUnnamed(txn, r); err != nil {
		return err
	}
	for _, version := range r.Versions {
		key := numberedKey(tagManifest, r.Config, version)
		held, err := readRow(txn, key)
		if err != nil {
			return fmt.Errorf("%s version %d: %w", r.Config, version, err)
		}
		for _, stale := range [][]byte{key, logKey(held.Revision, key)} {
			if err := txn.Delete(stale); err != nil {
				return err
			}
		}
	}
	return freeName(txn, r)
}

// checkUnnamed returns ErrInUse if a pointer names a version to be removed.
func checkUnnamed(txn *badger.Txn, r Removal) error {
	prefix := append(nameKey(tagPointer, r.Config), 0)
	return embeddb.Scan(txn, prefix, nil, false, func(item *badger.Item) (more bool, err error) {
		held, err := rowOf(item)
		if err != nil {
			return false, err
		}
		p, err := held.Pointer()
		if err != nil {
			return false, err
		}
		for _, ref := range []record.Ref{p.Pointer.Baseline, p.Pointer.Candidate} {
			if slices.Contains(r.Versions, ref.Version) {
				return false, fmt.Errorf("%w: the pointer of region %s names version %d of %s",
					ErrInUse, p.Pointer.Region, ref.Version, r.Config)
			}
		}
		return true, nil
	})
}

// freeName frees the name of a config without versions. It returns ErrInUse if the newest version was
// removed and others are left: its number would be given again.
func freeName(txn *badger.Txn, r Removal) error {
	last, err := readNumber(txn, nameKey(tagLast, r.Config))
	if err != nil || !slices.Contains(r.Versions, last) {
		return err
	}
	left := 0
	prefix := append(nameKey(tagManifest, r.Config), 0)
	err = embeddb.Scan(txn, prefix, nil, false, func(*badger.Item) (more bool, err error) {
		left++
		return false, nil
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("%w: version %d is the newest of %s", ErrInUse, last, r.Config)
	}
	if err != nil {
		return err
	}
	return txn.Delete(nameKey(tagLast, r.Config))
}
