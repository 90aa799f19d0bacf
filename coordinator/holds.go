package coordinator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/versionstore"
)

const (
	// kindHold is the kind of the documents that holds are stored in.
	kindHold = "hold"
)

// hold is the stored form of a freeze or a lock. A freeze stops every rollout in a scope from
// going forward, and people from starting a rollout. A lock stops people from changing a
// config at all. Neither stops a failed gate from taking a version back, and a freeze does
// not stop a person from taking a version back.
type hold struct {
	Scope  string    `json:"scope"` // a prefix of configs, or "*"; for a lock, a config
	Region string    `json:"region,omitempty"`
	Lock   bool      `json:"lock,omitempty"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// String describes the hold for error texts and for the history of a rollout.
func (h hold) String() string { return apiHold(h).String() }

// hint names the command that ends the hold.
func (h hold) hint() string {
	if h.Lock {
		return "'banyan unlock " + h.Scope + "' opens the lock"
	}
	command := "banyan freeze --lift"
	// The command without a scope means "*". A shell would replace a bare * by file names.
	if h.Scope != "*" {
		command += " " + h.Scope
	}
	if h.Region != "" {
		command += " --region " + h.Region
	}
	return "lift the freeze with '" + command + "' when it is over"
}

// name returns the name of the hold's document.
func (h hold) name() string {
	scope := h.Scope
	if h.Lock {
		scope = "=" + scope
	}
	return scope + " " + h.Region
}

// covers reports whether the hold applies to config in any of regions.
func (h hold) covers(config string, regions []string) bool {
	if h.Region != "" && !slices.Contains(regions, h.Region) {
		return false
	}
	if h.Lock {
		return h.Scope == config
	}
	return h.Scope == "*" || record.InScope(config, h.Scope)
}

// check reports why a new hold can't be stored. known are the regions of the fleet.
func (h hold) check(known []string) error {
	if h.Scope != "*" || h.Lock {
		if err := record.ValidateConfig(h.Scope); err != nil {
			return err
		}
	}
	switch {
	case h.Reason == "" || len(h.Reason) > record.MaxMessage:
		return fmt.Errorf("%w: a hold needs a reason of at most %d bytes", errRequest, record.MaxMessage)
	case !h.Until.IsZero() && !h.Until.After(time.Now()):
		return fmt.Errorf("%w: the hold would have ended at %s", errRequest, h.Until.Format(time.RFC3339))
	case h.Region != "" && !slices.Contains(known, h.Region):
		return unknownRegion(h.Region, known)
	}
	return nil
}

func unknownRegion(region string, known []string) error {
	return fmt.Errorf("%w: region %q is not in the trust policy, which has %v", errRequest, region, known)
}

// holds are the freezes and locks in the store.
type holds struct {
	ledger *ledger.Ledger
	// twoPersons are the prefixes of configs whose rollouts a second person must approve.
	twoPersons []string
}

// all returns the holds that have not expired.
func (s *holds) all(ctx context.Context) ([]hold, error) {
	documents, err := s.ledger.List(ctx, kindHold, "", maxHolds)
	if err != nil {
		return nil, err
	}
	var all []hold
	for _, d := range documents {
		h := decodeHold(d)
		if h.Until.IsZero() || time.Now().Before(h.Until) {
			all = append(all, h)
		}
	}
	return all, nil
}

// decodeHold returns the hold in a document. A hold that can't be read holds on: its name says what
// it covers, and the reason says what is wrong.
func decodeHold(d versionstore.Document) (h hold) {
	err := d.Damaged
	if err == nil {
		err = json.Unmarshal(d.Raw, &h)
	}
	if err == nil && h.name() == d.Name {
		return h
	}
	scope, region, _ := strings.Cut(d.Name, " ")
	h = hold{
		Region: region,
		Reason: "the stored hold can't be read; lift it, and set it again if it is still wanted",
		By:     cmp.Or(d.By, "unknown"),
		At:     d.At,
	}
	h.Scope, h.Lock = strings.CutPrefix(scope, "=")
	return h
}

// on returns the holds that apply to config in any of regions.
func (s *holds) on(ctx context.Context, config string, regions []string) ([]hold, error) {
	all, err := s.all(ctx)
	return slices.DeleteFunc(all, func(h hold) bool { return !h.covers(config, regions) }), err
}

// permit refuses a person's change of config if a hold forbids the change. back is true if
// the change takes a version back or pauses a rollout: a freeze allows both.
func (s *holds) permit(ctx context.Context, config string, regions []string, back bool) error {
	found, err := s.on(ctx, config, regions)
	if err != nil {
		return err
	}
	for _, h := range found {
		if !h.Lock && back {
			continue
		}
		return &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("%s is %s", config, h), Hint: h.hint()}
	}
	return nil
}

// needsTwo reports whether a second person must approve the rollouts of config.
func (s *holds) needsTwo(config string) bool {
	return slices.ContainsFunc(s.twoPersons, func(prefix string) bool { return record.InScope(config, prefix) })
}

// put stores a hold and replaces the hold with the same scope, region and kind.
func (s *holds) put(ctx context.Context, h hold) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return s.ledger.ReplaceDocument(ctx, kindHold, h.name(), raw, h.By)
}

// lift removes the hold with the scope, region and kind of h.
func (s *holds) lift(ctx context.Context, h hold, by string) error {
	return s.ledger.RemoveDocument(ctx, kindHold, h.name(), by)
}
