package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"banyan/internal/embeddb"
	"banyan/rollout"
	"banyan/versionstore"
)

// kindRollout is the kind of the documents in which a leader keeps rollouts.
const kindRollout = "rollout"

// writesAtOnce is the number of documents in one transaction.
const writesAtOnce = 1000

// RestartResult is what a leader that restarts finds in its store.
type RestartResult struct {
	Stored, Found int
	// Took is the time to find them.
	Took time.Duration
}

// Restart stores a rollout of each of many configs in a new store in dir, and lists them as a leader
// does that restarts.
func Restart(ctx context.Context, dir string, configs int) (RestartResult, error) {
	r := RestartResult{Stored: configs}
	store, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		return r, err
	}
	defer store.Close()
	for first := 0; first < configs; first += writesAtOnce {
		var writes []versionstore.DocumentWrite
		for i := first; i < min(first+writesAtOnce, configs); i++ {
			s := rollout.State{ID: 1, Config: fmt.Sprintf("config/%06d", i), Version: 1, Status: rollout.Done}
			raw, err := json.Marshal(s)
			if err != nil {
				return r, err
			}
			writes = append(writes, versionstore.DocumentWrite{Kind: kindRollout, Name: s.Config, Raw: raw})
		}
		t := versionstore.Transaction{Term: 1, Documents: writes, By: "bench"}
		if _, err := store.Commit(ctx, t); err != nil {
			return r, err
		}
	}
	began := time.Now()
	found, err := versionstore.ListAll(ctx, store, kindRollout, "")
	r.Took = time.Since(began)
	r.Found = len(found)
	return r, err
}
