package versionstore

import "context"

// ListAll returns all documents of a kind, ordered by name, page by page.
func ListAll(ctx context.Context, r Reader, kind string) ([]Document, error) {
	var all []Document
	after := ""
	for {
		page, err := r.ListAfter(ctx, kind, after, MaxPage)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < MaxPage {
			return all, nil
		}
		after = page[len(page)-1].Name
	}
}
