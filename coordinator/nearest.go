package coordinator

import (
	"context"
	"fmt"
	"path"
	"slices"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/versionstore"
)

// notFound is a versionstore.ErrNotFound that says what is not there.
type notFound string

func (e notFound) Error() string { return string(e) }
func (e notFound) Unwrap() error { return versionstore.ErrNotFound }

// notFoundf returns a versionstore.ErrNotFound with a text.
func notFoundf(format string, args ...any) error { return notFound(fmt.Sprintf(format, args...)) }

// explainMissing completes the error of a request for something that is not there. If there is no
// such config at all, the error says so, and names a config with a similar name.
func explainMissing(ctx context.Context, store versionstore.Reader, config string, e *api.Error) *api.Error {
	if e.Code != api.CodeNotFound || config == "" {
		return e
	}
	if _, err := store.Version(ctx, config, 0); !isNotFound(err) {
		return e
	}
	out := &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no config %q", config), Hint: e.Hint}
	names, err := versionstore.AllConfigs(ctx, store)
	if err != nil {
		return out
	}
	if below := slices.IndexFunc(names, func(n string) bool { return record.InScope(n, config) }); below >= 0 {
		out.Hint = fmt.Sprintf("%s is the begin of names such as %s", config, names[below])
		return out
	}
	if near := nearest(config, names); near != "" {
		out.Hint = "did you mean " + near + "?"
	}
	return out
}

// nearest returns the name that a person most likely meant by a name that does not exist: one
// that differs by a few typing errors, else one with the same last segment; "" if there is none.
func nearest(name string, names []string) string {
	best := ""
	least := max(2, len(name)/6) + 1
	for _, n := range names {
		if abs(len(n)-len(name)) >= least {
			continue
		}
		if d := typos(name, n); d < least {
			best = n
			least = d
		}
	}
	if best != "" {
		return best
	}
	for _, n := range names {
		if path.Base(n) == path.Base(name) {
			return n
		}
	}
	return ""
}

// typos returns the number of bytes to insert, delete or replace that turn a into b, or two
// neighbours to swap.
func typos(a, b string) int {
	before := make([]int, len(b)+1) // the row before the last
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func abs(n int) int { return max(n, -n) }
