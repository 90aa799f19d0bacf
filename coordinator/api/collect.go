package api

import (
	"context"
	"net/http"
	"time"

	"banyan/internal/quantity"
)

// Defaults of Collect.
const (
	DefaultKeep       = 10
	DefaultCollectAge = 30 * 24 * time.Hour
)

// listedConfigs is the maximum number of configs in Collected.
const listedConfigs = 1000

// Collect is the request to remove from a coordinator what nothing names any more.
type Collect struct {
	// Keep is the number of versions that stay of each config: so many of the newest, and so many of
	// those that ran last and well in each region. 0 means DefaultKeep.
	Keep int `json:"keep,omitempty"`
	// OlderThan is the age below which a version stays; 0 means DefaultCollectAge.
	OlderThan quantity.Duration `json:"older_than,omitempty"`
	// DryRun only asks what would be removed.
	DryRun  bool   `json:"dry_run,omitempty"`
	Message string `json:"message,omitempty"`
}

// Collected is the answer to Collect.
type Collected struct {
	DryRun bool `json:"dry_run"`
	// Versions is the number of versions of all configs.
	Versions int `json:"versions"`
	// Configs are the configs that lost versions, by name.
	Configs []CollectedConfig `json:"configs"`
	// More is the number of further configs that lost versions.
	More int `json:"more,omitempty"`
	// Bodies is the number of bodies that no version names, and Bytes is their size.
	Bodies int   `json:"bodies"`
	Bytes  int64 `json:"bytes"`
}

// CollectedConfig says what was removed of a config.
type CollectedConfig struct {
	Config   string   `json:"config"`
	Versions []uint64 `json:"versions"`
	// Freed is true if the config was deleted long ago, and all of its versions were removed.
	Freed bool `json:"freed,omitempty"`
}

// Add adds what was removed of a config.
func (c *Collected) Add(one CollectedConfig) {
	c.Versions += len(one.Versions)
	if len(c.Configs) < listedConfigs {
		c.Configs = append(c.Configs, one)
	} else {
		c.More++
	}
}

// Collect has the coordinator that answers remove what nothing names any more from its own store.
func (c *Client) Collect(ctx context.Context, in Collect) (out Collected, err error) {
	return out, c.unhurried().putJSON(ctx, http.MethodPost, "/v1/store/collection", in, &out)
}
