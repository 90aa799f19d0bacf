package versionstore

import "context"

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
