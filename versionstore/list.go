package versionstore

import (
	"context"
	"errors"
	"slices"

	"banyan/record"
)

// ListAll returns all documents of a kind whose names begin with prefix, in the order of their names.
func ListAll(ctx context.Context, r Reader, kind, prefix string) ([]Document, error) {
	var all []Document
	after := ""
	for {
		page, err := r.List(ctx, kind, prefix, after, MaxPage)
		all = append(all, page...)
		if err != nil || len(page) < MaxPage {
			return all, err
		}
		after = page[len(page)-1].Name
	}
}

// AllPointers returns all pointers of region, ordered by revision, as they are when their last page is
// read. An empty region means every region. If some pointers are damaged, AllPointers returns the others
// and an error that wraps ErrCorrupt.
func AllPointers(ctx context.Context, r Reader, region string) ([]PointerState, error) {
	var all []PointerState
	var damaged error
	since := uint64(0)
	for {
		page, err := r.Pointers(ctx, region, since, MaxPage)
		for _, s := range page {
			if s.Damaged == nil {
				all = append(all, s)
			}
			damaged = errors.Join(damaged, s.Damaged)
			since = s.Revision
		}
		if err != nil || len(page) < MaxPage {
			return newestOfEach(all), errors.Join(err, damaged)
		}
	}
}

// newestOfEach removes from states, which are ordered by revision, all but the newest state of each
// pointer. A pointer that moves while pages are read is on two of them.
func newestOfEach(states []PointerState) []PointerState {
	newest := make(map[record.PointerKey]uint64, len(states))
	for i := range states {
		newest[states[i].Pointer.Key()] = states[i].Revision
	}
	return slices.DeleteFunc(states, func(s PointerState) bool {
		return s.Revision != newest[s.Pointer.Key()]
	})
}

// AllConfigs returns the names of all configs, in order.
func AllConfigs(ctx context.Context, r Reader) ([]string, error) {
	var all []string
	after := ""
	for {
		page, err := r.Configs(ctx, "", after, MaxPage)
		all = append(all, page...)
		if err != nil || len(page) < MaxPage {
			return all, err
		}
		after = page[len(page)-1]
	}
}

// AllVersions returns all versions of config, newest first.
func AllVersions(ctx context.Context, r Reader, config string) ([]Version, error) {
	var all []Version
	before := uint64(0)
	for {
		page, err := r.History(ctx, config, before, MaxPage)
		all = append(all, page...)
		if err != nil || len(page) < MaxPage {
			return all, err
		}
		before = page[len(page)-1].Manifest.Version
	}
}

// PageSize returns the maximum number of entries of a listing with the given limit.
func PageSize(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}
