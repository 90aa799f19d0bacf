package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// Holds: a freeze stops every rollout in its scope from going forward; a lock stops
// whatever a hand may do to one config. Neither stops a failed gate from taking a version
// back, and a freeze does not stop a person from doing so.

const kindHold = "hold"

// maxHolds bounds how many there are.
const maxHolds = 1000

// holdName names a hold's document.
func holdName(h api.Hold) string {
	scope := h.Scope
	if h.Lock {
		scope = "=" + scope
	}
	return scope + " " + h.Region
}

// holds lists those in force over a config in any of the regions.
func (c *Coordinator) holds(ctx context.Context, config string, regions []string) ([]api.Hold, error) {
	all, err := c.allHolds(ctx)
	return slices.DeleteFunc(all, func(h api.Hold) bool {
		covers := h.Scope == "*" || record.InScope(config, h.Scope)
		if h.Lock {
			covers = h.Scope == config
		}
		return !covers || h.Region != "" && !slices.Contains(regions, h.Region)
	}), err
}

// allHolds lists the holds that have not expired.
func (c *Coordinator) allHolds(ctx context.Context) ([]api.Hold, error) {
	documents, err := c.store.List(ctx, kindHold, "", maxHolds)
	if err != nil {
		return nil, err
	}
	holds := []api.Hold{}
	for _, d := range documents {
		var h api.Hold
		if err := json.Unmarshal(d.Raw, &h); err != nil {
			return nil, fmt.Errorf("hold %s: %w", d.Name, err)
		}
		if h.Until.IsZero() || time.Now().Before(h.Until) {
			holds = append(holds, h)
		}
	}
	return holds, nil
}

// permit refuses a change by hand that a hold forbids. Back tells that it takes a version
// back.
func (c *Coordinator) permit(ctx context.Context, config string, regions []string, back bool) error {
	holds, err := c.holds(ctx, config, regions)
	if err != nil {
		return err
	}
	for _, h := range holds {
		if h.Lock || !back {
			hint := "lift it with 'banyan freeze --lift " + h.Scope + "' when it is over"
			if h.Lock {
				hint = "'banyan unlock " + h.Scope + "' opens it"
			}
			return &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("%s is %s", config, h), Hint: hint}
		}
	}
	return nil
}

func (c *Coordinator) getHolds(r *http.Request, _ identity.Identity) (any, error) {
	holds, err := c.allHolds(r.Context())
	return map[string]any{"holds": holds}, err
}

func (c *Coordinator) postHold(r *http.Request, caller identity.Identity) (any, error) {
	var h api.Hold
	if err := decodeRequest(r, &h); err != nil {
		return nil, err
	}
	h.By, h.At = caller.Name, time.Now()
	if err := c.checkHold(h); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if err := c.replaceDocument(r.Context(), kindHold, holdName(h), raw, caller.Name); err != nil {
		return nil, err
	}
	c.log.Warn("hold", "scope", h.Scope, "lock", h.Lock, "reason", h.Reason, "until", h.Until, "by", h.By)
	c.rollouts.awake()
	return h, nil
}

func (c *Coordinator) checkHold(h api.Hold) error {
	if h.Scope != "*" || h.Lock {
		if err := record.ValidateConfig(h.Scope); err != nil {
			return err
		}
	}
	switch {
	case h.Reason == "" || len(h.Reason) > record.MaxMessage:
		return fmt.Errorf("%w: a hold needs a reason, of at most %d bytes", record.ErrInvalid, record.MaxMessage)
	case !h.Until.IsZero() && !h.Until.After(time.Now()):
		return fmt.Errorf("%w: the hold would be over since %s", record.ErrInvalid, h.Until.Format(time.RFC3339))
	case h.Region != "" && !slices.Contains(c.Policy().Regions(), h.Region):
		return fmt.Errorf("%w: region %q is not in the trust policy, which has %v", record.ErrInvalid, h.Region, c.Policy().Regions())
	}
	return nil
}

func (c *Coordinator) deleteHold(r *http.Request, caller identity.Identity) (any, error) {
	q := r.URL.Query()
	h := api.Hold{Scope: q.Get("scope"), Region: q.Get("region"), Lock: q.Get("lock") == "true"}
	err := c.replaceDocument(r.Context(), kindHold, holdName(h), nil, caller.Name)
	c.log.Warn("hold lifted", "scope", h.Scope, "lock", h.Lock, "by", caller.Name)
	c.rollouts.awake()
	return nil, err
}

// replaceDocument writes a document whatever stands there; with no raw it removes it, and
// it must be there.
func (c *Coordinator) replaceDocument(ctx context.Context, kind, name string, raw []byte, by string) error {
	c.writes.Lock()
	defer c.writes.Unlock()
	held, err := c.store.Document(ctx, kind, name)
	if err != nil && (raw == nil || toAPIError(err).Code != api.CodeNotFound) {
		return err
	}
	write := versionstore.DocumentWrite{Kind: kind, Name: name, Raw: raw, IfSeq: held.Seq}
	_, err = c.store.Commit(ctx, versionstore.Transaction{By: by, Documents: []versionstore.DocumentWrite{write}})
	return err
}

// needsTwo tells whether a second person must approve rollouts of a config.
func (c *Coordinator) needsTwo(config string) bool {
	return slices.ContainsFunc(c.cfg.TwoPersons, func(prefix string) bool { return record.InScope(config, prefix) })
}
