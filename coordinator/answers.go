package coordinator

import (
	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/rollout"
	"banyan/rollout/activation"
	"banyan/versionstore"
)

// The functions of this file copy what the coordinator stores and counts into the JSON types
// of the control API. No other file does.

func apiVersion(v versionstore.Version) api.Version {
	return api.Version{
		Manifest:    v.Manifest,
		PublishedBy: v.By,
		StoredAt:    v.At,
		Revision:    v.Revision,
		Signed:      v.Raw,
	}
}

func apiPointer(p versionstore.PointerState) api.Pointer {
	return api.Pointer{
		Pointer:  p.Pointer,
		MovedBy:  p.By,
		MovedAt:  p.At,
		Revision: p.Revision,
		Signed:   p.Raw,
	}
}

func apiPointers(states []versionstore.PointerState) *api.Activated {
	out := &api.Activated{Pointers: []api.Pointer{}}
	for _, p := range states {
		out.Pointers = append(out.Pointers, apiPointer(p))
	}
	return out
}

// apiRefusal returns why a ledger refuses writes.
func apiRefusal(l *ledger.Ledger) (out api.Refusal) {
	if stopped := l.Stopped(); stopped != nil {
		out.Stopped = stopped.Why
		return out
	}
	if waiting := l.Waiting(); waiting != nil {
		out.Waiting = waiting.Error()
	}
	return out
}

// apiRollout returns the answer for a rollout; seen holds the view of its regions.
func apiRollout(s rollout.State, seen map[string]rollout.Region) api.Rollout {
	out := api.Rollout{
		ID:        s.ID,
		Config:    s.Config,
		Version:   s.Version,
		Plan:      s.Plan,
		By:        s.By,
		Message:   s.Message,
		Status:    s.Status,
		Why:       s.Why,
		End:       s.End,
		Group:     s.Group,
		Wave:      s.Wave,
		Part:      s.Part,
		Spent:     s.Spent,
		Short:     s.Short,
		Overdue:   s.Overdue,
		Skipped:   s.Skipped,
		Full:      s.Full,
		Regions:   map[string]*api.RolloutRegion{},
		Approver:  s.Approver,
		Started:   s.Started,
		Ended:     s.Ended,
		Decided:   s.Decided,
		Recovered: s.Recovered,
		Exposed:   s.Exposed,
		Waits:     s.Waits(seen),
		Title:     s.Title(),
	}
	for name, r := range s.Regions {
		out.Regions[name] = apiRolloutRegion(r)
	}
	for _, e := range s.Log {
		out.Log = append(out.Log, api.RolloutEntry(e))
	}
	if len(seen) > 0 {
		out.Seen = map[string]api.RolloutView{}
	}
	for name, r := range seen {
		out.Seen[name] = apiRolloutView(r)
	}
	return out
}

func apiRolloutView(r rollout.Region) api.RolloutView {
	return api.RolloutView{
		Epoch:   r.Epoch,
		Known:   r.Known,
		Placed:  r.Placed,
		Agents:  r.Agents,
		InWave:  r.InWave,
		Applied: r.Applied,
		Running: r.Running,
		Failed:  r.Failed,
		Skew:    r.Skew,
		Reasons: r.Reasons,
		Hosts:   r.Hosts,
		Unheard: r.Unheard,
		Absent:  r.Absent,
		Waiting: r.Waiting,
	}
}

func apiRolloutRegion(r *rollout.RegionState) *api.RolloutRegion {
	return &api.RolloutRegion{
		Baseline: r.Baseline.Version,
		Began:    r.Began,
		Epoch:    r.Epoch,
		Left:     r.Left,
		Bound:    r.Bound,
		Filled:   r.Filled,
		Waived:   r.Waived,
		Agents:   r.Agents,
		InWave:   r.InWave,
		Counted:  r.Counted,
	}
}

func apiQuarantined(q rollout.Quarantined) api.Quarantined {
	return api.Quarantined{
		Index:  q.Index,
		Name:   q.Name,
		Config: q.Config,
		Epoch:  q.Position.Epoch(),
		Reason: q.Reason,
		Millis: q.Millis,
		Region: q.Region,
		Since:  q.Since,
	}
}

func apiAgent(p tree.AgentPlace) api.Agent { return api.Agent(p) }

func apiHost(key hostKey, h *host) api.Host {
	return api.Host{
		Region:   key.region,
		Name:     key.name,
		Attached: h.attached,
		Via:      h.Via,
		Since:    h.Since,
		HeardAt:  h.Heard,
	}
}

func apiHolder(h holder) api.Holder {
	return api.Holder{
		Region: h.region,
		Name:   h.Name,
		Whole:  h.Whole,
		Form:   h.Form,
		Shards: h.Shards,
		Of:     h.Of,
		Cached: h.Cached,
	}
}

func apiDrift(d drift) api.Drift {
	return api.Drift{
		Agent:    d.Agent,
		Region:   d.Region,
		Config:   d.Config,
		Version:  d.Version,
		Repaired: d.Repaired,
		Since:    d.Since,
		Seen:     d.Seen,
	}
}

func apiHold(h hold) api.Hold { return api.Hold(h) }

// apiLatency returns nil if no host has told how long it took.
func apiLatency(l *wire.Latencies) *api.Latency {
	if l.Count() == 0 {
		return nil
	}
	at := func(share float64) float64 { return float64(l.Quantile(share)) / 1000 }
	return &api.Latency{MinMs: at(0), P50Ms: at(0.5), P99Ms: at(0.99), MaxMs: at(1)}
}

func apiFailures(e *wire.AckEntry) []api.Failure {
	var out []api.Failure
	for _, f := range e.Failures {
		out = append(out, api.Failure{
			Agent:    f.Name,
			Reason:   f.Reason,
			Attempts: f.Attempts,
			Delayed:  !e.Failed.Contains(f.Agent),
		})
	}
	return out
}

func apiTwoPersons(all []guarded, seq uint64) api.TwoPersons {
	out := api.TwoPersons{Prefixes: []api.Guarded{}, Seq: seq}
	for _, g := range all {
		out.Prefixes = append(out.Prefixes, api.Guarded(g))
	}
	return out
}

func apiActivation(e activation.Entry) api.Activation {
	return api.Activation{
		Version:  e.Version,
		Epoch:    e.Epoch,
		Whole:    e.Reach == activation.Whole,
		Ran:      e.Ran,
		Since:    e.Since,
		Until:    e.Until,
		Outcome:  string(e.Outcome),
		Text:     e.String(),
		By:       e.By,
		Why:      e.Why,
		EndedBy:  e.EndedBy,
		EndedWhy: e.EndedWhy,
	}
}

func apiLogEntry(e ledger.Entry) api.LogEntry { return api.LogEntry(e) }

func apiRegionBack(d regionBack) api.RegionBack {
	out := api.RegionBack{Region: d.region, From: d.from.Version, To: d.to.Version, Moved: d.moves}
	if !d.moves {
		out.Why = d.why
		if d.refused != nil {
			out.Why = d.refused.Message
		}
	}
	if d.ran != nil {
		ran := apiActivation(*d.ran)
		out.Ran = &ran
	}
	for _, e := range d.skipped {
		out.Skipped = append(out.Skipped, apiActivation(e))
	}
	return out
}
