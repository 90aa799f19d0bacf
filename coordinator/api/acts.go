package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Activation is the time of one version in a region.
type Activation struct {
	Version uint64 `json:"version"`
	// Epoch is the first epoch of the pointer that named the version.
	Epoch uint64 `json:"epoch"`
	// Whole is true if the version was live in the whole region.
	Whole bool `json:"whole"`
	// Ran is true if at least one host acknowledged that it runs the version.
	Ran   bool      `json:"ran"`
	Since time.Time `json:"since"`
	// Until is the time at which the pointer stopped naming the version; zero while it runs.
	Until time.Time `json:"until,omitzero"`
	// Outcome is "running", "replaced", "taken_back", "rolled_back" or "deleted".
	Outcome string `json:"outcome"`
	// Text describes the outcome: "taken back by its gate".
	Text string `json:"text"`
	// By brought the version, for the reason Why.
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
	// EndedBy ended the time of the version, for the reason EndedWhy.
	EndedBy  string `json:"ended_by,omitempty"`
	EndedWhy string `json:"ended_why,omitempty"`
}

// Activations are the versions that ran in each region, oldest first, by region.
type Activations struct {
	Config  string                  `json:"config"`
	Regions map[string][]Activation `json:"regions"`
}

// Activations returns the versions of a config that ran in each region.
func (c *Client) Activations(ctx context.Context, config string) (a Activations, err error) {
	return a, c.get(ctx, configPath(config, "/activations"), &a)
}

// Rollback is the request to take a config back.
type Rollback struct {
	// To is the version to go back to. The version must have run well in every region of the
	// request: it was live there, at least one host acknowledged it, and nobody took it back. 0
	// means the version that ran last and well, in each region.
	To uint64 `json:"to,omitempty"`
	// From is the version to leave. A region that runs another version stays as it is. 0 means
	// the version that runs, unless the region came back from a version already.
	From uint64 `json:"from,omitempty"`
	// Regions are the regions to take back; empty means all that run the config.
	Regions []string `json:"regions,omitempty"`
	// IfEpoch is the epoch at which the pointer must be, by region. If the pointer of any
	// region in IfEpoch is at another epoch, no pointer moves.
	IfEpoch map[string]uint64 `json:"if_epoch,omitempty"`
	Message string            `json:"message,omitempty"`
}

// RolledBack is the answer to Rollback.
type RolledBack struct {
	Config  string       `json:"config"`
	Regions []RegionBack `json:"regions"`
	// Pointers are the pointers of the regions after the rollback.
	Pointers []Pointer `json:"pointers"`
}

// Moved reports whether the rollback moved a pointer.
func (r RolledBack) Moved() bool {
	for _, region := range r.Regions {
		if region.Moved {
			return true
		}
	}
	return false
}

// RegionBack says what a rollback did in a region.
type RegionBack struct {
	Region string `json:"region"`
	// From is the version that was taken back.
	From uint64 `json:"from"`
	// To is the version that the region runs after the rollback.
	To uint64 `json:"to"`
	// Moved is false if the rollback changed nothing in the region, for the reason Why.
	Moved bool   `json:"moved"`
	Why   string `json:"why,omitempty"`
	// Ran is the time for which the version To ran before.
	Ran *Activation `json:"ran,omitempty"`
	// Skipped are versions that were tried after To and taken back, or that no host ran.
	Skipped []Activation `json:"skipped,omitempty"`
}

// Delete is the request to delete a config: hosts remove its file.
type Delete struct {
	// Regions are the regions in which to delete the config; empty means all.
	Regions []string `json:"regions,omitempty"`
	// IfEpoch is the epoch at which the pointer must be, by region. If the pointer of any
	// region in IfEpoch is at another epoch, nothing is deleted.
	IfEpoch map[string]uint64 `json:"if_epoch,omitempty"`
	Message string            `json:"message,omitempty"`
}

// Deleted is the answer to Delete.
type Deleted struct {
	Config  string          `json:"config"`
	Regions []RegionDeleted `json:"regions"`
	// Pointers are the pointers of the regions after the deletion.
	Pointers []Pointer `json:"pointers"`
}

// RegionDeleted says what a deletion did in a region.
type RegionDeleted struct {
	Region string `json:"region"`
	// Version is the version that the region ran; 0 if there was none.
	Version uint64 `json:"version,omitempty"`
	// Moved is false if the config was deleted there before.
	Moved bool `json:"moved"`
}

// Guarded is a prefix of configs whose rollouts need the approval of a second person.
type Guarded struct {
	Prefix string    `json:"prefix"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	// Ending is the person who asked for the end of the rule. It ends when another person
	// asks, too.
	Ending string `json:"ending,omitempty"`
}

// TwoPersons is the stored setting which rollouts need the approval of a second person.
type TwoPersons struct {
	Prefixes []Guarded `json:"prefixes"`
	// Seq counts the changes of the setting.
	Seq uint64 `json:"seq"`
}

// SetTwoPersons is the request to guard a prefix, or to end that.
type SetTwoPersons struct {
	Prefix string `json:"prefix"`
	On     bool   `json:"on"`
	// IfSeq is the Seq that the setting must have; nil means any.
	IfSeq   *uint64 `json:"if_seq,omitempty"`
	Message string  `json:"message,omitempty"`
}

// TwoPersons returns the prefixes whose rollouts need a second person.
func (c *Client) TwoPersons(ctx context.Context) (t TwoPersons, err error) {
	return t, c.get(ctx, "/v1/policies/two-persons", &t)
}

// SetTwoPersons guards a prefix, or asks to end that.
func (c *Client) SetTwoPersons(ctx context.Context, in SetTwoPersons) (t TwoPersons, err error) {
	return t, c.putJSON(ctx, http.MethodPut, "/v1/policies/two-persons", in, &t)
}

// LogEntry is an act that changed something: who did what to which config, when and why.
type LogEntry struct {
	// Number counts the entries from 1.
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	What   string    `json:"what"`
	// Config is a config or a prefix of configs; "" if the act is about neither.
	Config string `json:"config,omitempty"`
	Why    string `json:"why,omitempty"`
}

// LogQuery selects entries of the log. A zero field selects every entry.
type LogQuery struct {
	// Prefix selects the entries about configs at or below a prefix.
	Prefix string
	By     string
	Since  time.Time
	// Limit is the maximum number of entries.
	Limit int
}

// Log returns the acts that a query selects, newest first.
func (c *Client) Log(ctx context.Context, q LogQuery) ([]LogEntry, error) {
	values := url.Values{"prefix": {q.Prefix}, "by": {q.By}}
	if q.Limit > 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	if !q.Since.IsZero() {
		values.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	var out struct {
		Entries []LogEntry `json:"entries"`
	}
	return out.Entries, c.get(ctx, "/v1/log?"+values.Encode(), &out)
}
