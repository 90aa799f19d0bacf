package coordinator

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// fleetHandlers answer requests about coordinators and agents.
type fleetHandlers struct {
	ledger  *ledger.Ledger
	tracker *tracker
	driver  *transport.Driver

	inventory *inventory
	policy    *record.Policy

	self    identity.Identity
	leads   bool
	version string // of the program
	log     *slog.Logger
}

// getStatus describes this coordinator.
func (h *fleetHandlers) getStatus(r *http.Request, _ identity.Identity) (any, error) {
	revision, err := h.ledger.Revision(r.Context())
	if err != nil {
		return nil, err
	}
	term, err := h.ledger.Term(r.Context())
	if err != nil {
		return nil, err
	}
	agents := map[string]int{}
	for region, size := range h.tracker.sizes() {
		agents[region] = size.Agents
	}
	attached := false
	running := h.driver.Do(r.Context(), func(n *mesh.Node) {
		agents[h.self.Region] = n.Planner().Placed()
		attached = n.Attached()
	})
	if !running {
		return nil, versionstore.ErrClosed
	}
	return api.CoordinatorStatus{
		Name:     h.self.Name,
		Region:   h.self.Region,
		Leads:    h.leads,
		Attached: attached,
		Revision: revision,
		Term:     term,
		Refusal:  apiRefusal(h.ledger),
		Agents:   agents,
		Version:  h.version,
	}, nil
}

// getAgents returns the agents of this coordinator's tree, by name.
func (h *fleetHandlers) getAgents(r *http.Request, _ identity.Identity) (any, error) {
	var places []tree.AgentPlace
	running := h.driver.Do(r.Context(), func(n *mesh.Node) { places = n.Planner().Agents() })
	if !running {
		return nil, versionstore.ErrClosed
	}
	slices.SortFunc(places, func(a, b tree.AgentPlace) int { return cmp.Compare(a.Name, b.Name) })
	agents := make([]api.Agent, len(places))
	for i, p := range places {
		agents[i] = apiAgent(p)
	}
	return map[string]any{"agents": agents}, nil
}

// getInventory returns all hosts, attached or not.
func (h *fleetHandlers) getInventory(*http.Request, identity.Identity) (any, error) {
	return map[string]any{"hosts": h.inventory.list(time.Now().Add(-rosterFresh))}, nil
}

// postInventory lists hosts that were issued an identity and have not attached yet.
func (h *fleetHandlers) postInventory(r *http.Request, caller identity.Identity) (any, error) {
	var in api.ExpectHosts
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if len(in.Hosts) == 0 {
		return nil, fmt.Errorf("%w: no host is named", errRequest)
	}
	var keys []hostKey
	for _, expected := range in.Hosts {
		id := identity.Identity{Role: identity.RoleAgent, Region: expected.Region, Name: expected.Name}
		if err := id.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", errRequest, err)
		}
		if known := h.policy.Regions(); !slices.Contains(known, expected.Region) {
			return nil, unknownRegion(expected.Region, known)
		}
		keys = append(keys, hostKey{expected.Region, expected.Name})
	}
	added, err := h.inventory.expect(r.Context(), keys, caller.Name)
	if err != nil {
		return nil, err
	}
	out := api.ExpectHosts{Hosts: []api.ExpectedHost{}}
	for _, key := range added {
		out.Hosts = append(out.Hosts, api.ExpectedHost{Region: key.region, Name: key.name})
	}
	return out, nil
}

// deleteHost retires a host.
func (h *fleetHandlers) deleteHost(r *http.Request, caller identity.Identity) (any, error) {
	key, err := h.inventory.find(r.PathValue("host"), r.URL.Query().Get("region"))
	if err != nil {
		return nil, err
	}
	if err := h.inventory.retire(r.Context(), key, caller.Name); err != nil {
		return nil, err
	}
	return api.Host{Region: key.region, Name: key.name}, nil
}

// putRoster takes the report of a coordinator on the hosts in its tree.
func (h *fleetHandlers) putRoster(r *http.Request, caller identity.Identity) (any, error) {
	if caller.Role != identity.RoleCoordinator {
		return nil, &api.Error{Code: api.CodeForbidden, Message: "only a coordinator reports on the hosts of its tree"}
	}
	var in api.Roster
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	for _, m := range in.Hosts {
		if m.Name == "" || len(m.Name) > wire.MaxAddress {
			return nil, fmt.Errorf("%w: a host with a name of %d bytes", errRequest, len(m.Name))
		}
	}
	return api.RosterTaken{Again: h.inventory.hear(caller.Name, caller.Region, in)}, nil
}

// getQuarantine returns the agents in quarantine.
func (h *fleetHandlers) getQuarantine(*http.Request, identity.Identity) (any, error) {
	agents := []api.Quarantined{}
	for _, q := range h.tracker.quarantined() {
		agents = append(agents, apiQuarantined(q))
	}
	return map[string]any{"agents": agents}, nil
}

// deleteQuarantine releases an agent of this coordinator's tree.
func (h *fleetHandlers) deleteQuarantine(r *http.Request, caller identity.Identity) (any, error) {
	name := r.PathValue("agent")
	all := h.tracker.quarantined()
	i := slices.IndexFunc(all, func(q rollout.Quarantined) bool { return q.Name == name })
	if i < 0 {
		return nil, &api.Error{
			Code:    api.CodeNotFound,
			Message: fmt.Sprintf("agent %q is not in quarantine here", name),
		}
	}
	if region := all[i].Region; region != h.self.Region {
		return nil, &api.Error{
			Code: api.CodeRejected,
			Message: fmt.Sprintf("agent %s is in region %s, and this coordinator is in region %s",
				name, region, h.self.Region),
			Hint: "ask the coordinator of that region, with --coordinator",
		}
	}
	h.log.Info("released by hand", "agent", name, "by", caller.Name)
	h.driver.Input(r.Context(), step.Input{Kind: step.InRelease, Name: name})
	return nil, nil
}

// getDrift returns the files whose content is not the applied version.
func (h *fleetHandlers) getDrift(*http.Request, identity.Identity) (any, error) {
	drifts := []api.Drift{}
	for _, d := range h.tracker.allDrifts() {
		drifts = append(drifts, apiDrift(d))
	}
	return map[string]any{"drifts": drifts}, nil
}
