package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"banyan/coordinator/api"
	"banyan/mesh"
	"banyan/mesh/tree"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

const maxHistory = 1000

func (c *Coordinator) getStatus(r *http.Request, _ identity.Identity) (any, error) {
	revision, err := c.store.Revision(r.Context())
	if err != nil {
		return nil, err
	}
	agents := map[string]int{}
	for region, size := range c.tracker.sizes() {
		agents[region] = size.Agents
	}
	attached := false
	if !c.driver.Do(r.Context(), func(n *mesh.Node) {
		agents[c.region] = n.Planner().Placed()
		attached = n.Attached()
	}) {
		return nil, versionstore.ErrClosed
	}
	return api.CoordinatorStatus{Name: c.cfg.Identity.Identity.Name, Region: c.region, Leads: c.Leads(),
		Attached: attached, Revision: revision, Agents: agents, Version: c.cfg.Version}, nil
}

func (c *Coordinator) getAgents(r *http.Request, _ identity.Identity) (any, error) {
	var places []tree.AgentPlace
	if !c.driver.Do(r.Context(), func(n *mesh.Node) { places = n.Planner().Agents() }) {
		return nil, versionstore.ErrClosed
	}
	slices.SortFunc(places, func(a, b tree.AgentPlace) int { return cmp.Compare(a.Name, b.Name) })
	agents := make([]api.Agent, len(places))
	for i, p := range places {
		agents[i] = api.Agent(p)
	}
	return map[string]any{"agents": agents}, nil
}

func (c *Coordinator) getConfigs(r *http.Request, _ identity.Identity) (any, error) {
	q := r.URL.Query()
	configs, err := c.store.Configs(r.Context(), q.Get("prefix"), q.Get("after"), versionstore.MaxPage)
	if err != nil {
		return nil, err
	}
	return map[string]any{"configs": append([]string{}, configs...), "more": len(configs) == versionstore.MaxPage}, nil
}

// configOf reads the config a request names.
func configOf(r *http.Request) (string, error) {
	config := r.PathValue("config")
	return config, record.ValidateConfig(config)
}

func versionOf(r *http.Request) (uint64, error) {
	name := r.PathValue("version")
	if name == "last" {
		return 0, nil
	}
	v, err := strconv.ParseUint(name, 10, 64)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("%w: version %q is not a number from 1 on, or \"last\"", record.ErrInvalid, name)
	}
	return v, nil
}

func (c *Coordinator) getVersions(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
		return n
	}
	limit := min(number("limit"), maxHistory)
	versions, err := c.store.History(r.Context(), config, number("before"), int(cmp.Or(limit, maxHistory)))
	if err != nil {
		return nil, err
	}
	out := make([]api.Version, len(versions))
	for i, v := range versions {
		out[i] = toVersion(v)
	}
	return map[string]any{"versions": out}, nil
}

func toVersion(v versionstore.Version) api.Version {
	return api.Version{Manifest: v.Manifest, PublishedBy: v.By, StoredAt: v.At, Revision: v.Revision, Signed: v.Raw}
}

func toPointer(p versionstore.PointerState) api.Pointer {
	return api.Pointer{Pointer: p.Pointer, MovedBy: p.By, MovedAt: p.At, Revision: p.Revision, Signed: p.Raw}
}

func (c *Coordinator) version(r *http.Request) (versionstore.Version, error) {
	config, err := configOf(r)
	if err != nil {
		return versionstore.Version{}, err
	}
	number, err := versionOf(r)
	if err != nil {
		return versionstore.Version{}, err
	}
	return c.store.Version(r.Context(), config, number)
}

func (c *Coordinator) getVersion(r *http.Request, _ identity.Identity) (any, error) {
	v, err := c.version(r)
	return toVersion(v), err
}

func (c *Coordinator) getBody(w http.ResponseWriter, r *http.Request) {
	v, err := c.version(r)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	body, err := c.library.OpenBody(r.Context(), v.Manifest)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", cmp.Or(v.Manifest.ContentType, "application/octet-stream"))
	w.Header().Set("Content-Length", strconv.FormatInt(v.Manifest.BodySize, 10))
	w.Header().Set("Banyan-Version", strconv.FormatUint(v.Manifest.Version, 10))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := io.Copy(w, body); err != nil {
		c.log.Warn("body not sent", "config", v.Manifest.Config, "version", v.Manifest.Version, "error", err)
	}
}

func (c *Coordinator) pointers(ctx context.Context, config string) ([]versionstore.PointerState, error) {
	if _, err := c.store.Version(ctx, config, 0); err != nil {
		return nil, err
	}
	var states []versionstore.PointerState
	for _, region := range c.cfg.Identity.Policy.Regions() {
		p, err := c.store.Pointer(ctx, config, region)
		if err == nil {
			states = append(states, p)
		} else if toAPIError(err).Code != api.CodeNotFound {
			return nil, err
		}
	}
	return states, nil
}

func (c *Coordinator) getPointers(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	states, err := c.pointers(r.Context(), config)
	if err != nil {
		return nil, err
	}
	out := api.Activated{Pointers: []api.Pointer{}}
	for _, p := range states {
		out.Pointers = append(out.Pointers, toPointer(p))
	}
	return out, nil
}

func (c *Coordinator) getConfigStatus(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	last, err := c.store.Version(r.Context(), config, 0)
	if err != nil {
		return nil, err
	}
	states, err := c.pointers(r.Context(), config)
	if err != nil {
		return nil, err
	}
	out := api.ConfigStatus{Config: config, Last: last.Manifest.Version, Regions: []api.RegionStatus{}}
	for _, p := range states {
		s := api.RegionStatus{Region: p.Pointer.Region, Epoch: p.Pointer.Epoch, Version: p.Pointer.Baseline, MovedAt: p.At}
		if s.Candidate = p.Pointer.Candidate; s.Candidate != 0 {
			if s.Wave = p.Pointer.Wave.String(); p.Pointer.Phase == record.PhaseStage {
				s.Wave = "staged"
			}
		}
		c.tracker.status(&s, config)
		out.Regions = append(out.Regions, s)
	}
	return out, nil
}

func (c *Coordinator) getSchema(w http.ResponseWriter, r *http.Request) {
	config, err := configOf(r)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	schema, err := c.store.Schema(r.Context(), config)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	w.Header().Set("Content-Type", "application/schema+json")
	w.Write(schema)
}
