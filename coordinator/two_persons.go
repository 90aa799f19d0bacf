package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// The document that holds the prefixes whose rollouts need a second person.
const (
	kindPolicy     = "policy"
	twoPersonsName = "two-persons"
)

// guarded is the stored form of a prefix of configs whose rollouts need a second person.
type guarded struct {
	Prefix string    `json:"prefix"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	// Ending is the person who asked for the end; another person must ask for it, too.
	Ending string `json:"ending,omitempty"`
}

// covers reports whether the prefix covers config.
func (g guarded) covers(config string) bool {
	return g.Prefix == anyConfig || record.InScope(config, g.Prefix)
}

// twoPersons is the stored setting which rollouts need the approval of a second person.
type twoPersons struct{ ledger *ledger.Ledger }

// stored returns the guarded prefixes and the sequence of their document.
func (p *twoPersons) stored(ctx context.Context) ([]guarded, uint64, error) {
	d, err := p.ledger.Document(ctx, kindPolicy, twoPersonsName)
	if errors.Is(err, versionstore.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var all []guarded
	if err := decodeDocument(d, &all); err != nil {
		return nil, d.Seq, fmt.Errorf("the stored setting of two persons: %w", err)
	}
	return all, d.Seq, nil
}

// needs reports whether a second person must approve the rollouts of config. The returned
// condition belongs into the commit that starts the rollout. A setting that can't be read
// needs a second person.
func (p *twoPersons) needs(ctx context.Context, config string) (bool, versionstore.Guard, error) {
	all, seq, err := p.stored(ctx)
	guard := versionstore.Guard{Kind: kindPolicy, Name: twoPersonsName, Seq: seq}
	if errors.Is(err, versionstore.ErrCorrupt) {
		return true, guard, nil
	}
	needs := slices.ContainsFunc(all, func(g guarded) bool { return g.covers(config) })
	return needs, guard, err
}

// set guards a prefix, or ends that when a second person asks for it.
func (p *twoPersons) set(ctx context.Context, in api.SetTwoPersons, by string) (out api.TwoPersons, err error) {
	if in.Prefix != anyConfig {
		if err := record.ValidateConfig(in.Prefix); err != nil {
			return out, err
		}
	}
	if len(in.Message) > record.MaxMessage {
		return out, fmt.Errorf("%w: a reason of %d bytes, the limit is %d", errRequest, len(in.Message), record.MaxMessage)
	}
	err = p.ledger.Update(func(w *ledger.Writer) error {
		all, seq, err := p.stored(ctx)
		if err != nil && !(in.On && errors.Is(err, versionstore.ErrCorrupt)) {
			return err
		}
		if in.IfSeq != nil && *in.IfSeq != seq {
			return &versionstore.ConflictError{What: "policy", Config: twoPersonsName, Wanted: *in.IfSeq + 1, Current: seq}
		}
		next, what, err := guard(all, in, by)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(next)
		if err != nil {
			return err
		}
		write := versionstore.DocumentWrite{Kind: kindPolicy, Name: twoPersonsName, Raw: raw, IfSeq: seq}
		act := ledger.Act{By: by, Why: in.Message, What: what}
		if in.Prefix != anyConfig {
			act.Config = in.Prefix
		}
		out = apiTwoPersons(next, seq+1)
		_, err = w.Commit(ctx, act, ledger.Changes{Documents: []versionstore.DocumentWrite{write}})
		return err
	})
	return out, err
}

// guard returns the guarded prefixes after the request in of a person, and describes what
// changed.
func guard(all []guarded, in api.SetTwoPersons, by string) (next []guarded, what string, err error) {
	i := slices.IndexFunc(all, func(g guarded) bool { return g.Prefix == in.Prefix })
	next = slices.Clone(all)
	switch {
	case in.On && i >= 0:
		next[i].Ending = ""
		return next, "rollouts of " + in.Prefix + " go on to need two persons", nil
	case in.On && len(all) >= maxTwoPersons:
		return nil, "", &api.Error{
			Code:    api.CodeRejected,
			Message: fmt.Sprintf("%d prefixes need two persons, which is the limit", len(all)),
			Hint:    "guard a shorter prefix",
		}
	case in.On:
		next = append(next, guarded{Prefix: in.Prefix, By: by, At: time.Now(), Reason: in.Message})
		return next, "rollouts of " + in.Prefix + " need two persons", nil
	case i < 0:
		return nil, "", &api.Error{
			Code:    api.CodeNotFound,
			Message: "rollouts of " + in.Prefix + " need no second person",
			Hint:    "'banyan policy two-persons' lists the prefixes that do",
		}
	case next[i].Ending == "" || next[i].Ending == by:
		next[i].Ending = by
		return next, "asked to end the rule of two persons for " + in.Prefix, nil
	}
	return slices.Delete(next, i, i+1), "rollouts of " + in.Prefix + " need no second person any more", nil
}

// policyHandlers answer requests about stored rules.
type policyHandlers struct{ twoPersons *twoPersons }

func (h *policyHandlers) getTwoPersons(r *http.Request, _ identity.Identity) (any, error) {
	all, seq, err := h.twoPersons.stored(r.Context())
	if err != nil {
		return nil, err
	}
	return apiTwoPersons(all, seq), nil
}

func (h *policyHandlers) putTwoPersons(r *http.Request, caller identity.Identity) (any, error) {
	var in api.SetTwoPersons
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	return h.twoPersons.set(r.Context(), in, caller.Name)
}
