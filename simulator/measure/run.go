package measure

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/simulator/world"
)

// Run is a fleet in which every agent has a parent, and the measurements of its updates.
type Run struct {
	World *world.World
	Meter *Meter
	// Start is the time at which every agent had a parent.
	Start step.Time

	before []world.Traffic   // of each host, at the start
	sent   int64             // messages that all hosts had sent before a body spread
	bodies world.BodyTraffic // shards that had arrived before a body spread
}

// ErrStopped is returned for a run that ended early because Config.Done was closed.
var ErrStopped = errors.New("the run was stopped")

// joinLimit is the virtual time within which a fleet must join.
const joinLimit = 10 * time.Minute

// Begin makes a fleet and lets it join. running names the configs whose version 1 every
// host runs already.
func Begin(cfg world.Config, running ...string) (*Run, error) {
	w, err := world.New(cfg)
	if err != nil {
		return nil, err
	}
	r := &Run{World: w, Meter: NewMeter(w)}
	for _, config := range running {
		w.Preload(config)
	}
	w.Boot()
	err = w.Settle(joinLimit)
	if w.Stopped() {
		return nil, ErrStopped
	}
	if err != nil {
		return nil, fmt.Errorf("the fleet does not join: %w", err)
	}
	w.BeginHeads()
	r.Start = w.Now()
	r.before = r.Traffic()
	return r, nil
}

// Traffic returns what each host has sent and spent so far.
func (r *Run) Traffic() []world.Traffic {
	all := make([]world.Traffic, r.World.Hosts())
	for i := range all {
		all[i] = r.World.Host(int32(i)).Traffic()
	}
	return all
}

// UpdateLimit is the virtual time within which every host must have an update.
const UpdateLimit = 2 * time.Minute

// Fleet measures a new version and its rollback on a fleet that runs another version and
// is at rest.
func Fleet(cfg world.Config) (*Report, error) {
	const config = "capacity/plan"
	r, err := Begin(cfg, config)
	if err != nil {
		return nil, err
	}
	var body *BodyReport
	if r.World.Traded(world.Key(config, 2)) {
		body = r.BodyReport(r.Spread(world.Change{Config: config, Version: 2}, 0))
		body.Arrangement, body.Condition = DefaultArrangement, DefaultCondition
	} else {
		r.Update(world.Change{Config: config, Version: 2}, false)
	}
	r.Update(world.Change{Config: config, Version: 1}, true)
	if r.World.Stopped() {
		return nil, ErrStopped
	}
	out := r.Report()
	out.Body = body
	return out, nil
}

// Update moves a config's pointers and runs until every subscribing agent has applied the
// update and the acknowledgements are through. A rollback names an older version.
func (r *Run) Update(c world.Change, rollback bool) *Update {
	w := r.World
	u := r.Meter.Move(c, rollback)
	w.RunUntil(w.Now().Add(UpdateLimit), 5*time.Millisecond, func() bool {
		return u.Missing == 0 && r.committed(u)
	})
	w.Run(w.Now().Add(500 * time.Millisecond))
	return u
}

// committed reports whether an update was committed in all of its regions.
func (r *Run) committed(u *Update) bool {
	return r.World.Now() > u.Began.Add(r.World.Config().Commit())
}

// Report summarizes the run so far.
func (r *Run) Report() *Report {
	w, m := r.World, r.Meter
	cfg := w.Config()
	out := &Report{
		Nodes:          w.Hosts() - w.Regions(),
		Regions:        w.Regions(),
		Fanout:         cfg.Fanout,
		Seed:           cfg.Seed,
		Updates:        len(m.updates),
		Missed:         m.missed(),
		Coverage:       m.Coverage(),
		Depth:          depth(w),
		VirtualSeconds: time.Duration(w.Now()).Seconds(),
		Events:         w.Events(),
		History:        m.History(),
		Bound:          Millis(cfg.Bound()),
	}
	all, byRegion := m.collect(publishes, appliedOf)
	out.Rest = LatencyOf(all)
	out.P50 = out.Rest.P50
	out.P99 = out.Rest.P99
	out.Max = out.Rest.Max
	out.CDF = CDFOf(all, len(all))
	for i, name := range cfg.Network.Matrix.Regions {
		if cfg.Agents[i] > 0 {
			out.ByRegion = append(out.ByRegion, RegionLatency{name, cfg.Agents[i], LatencyOf(byRegion[i])})
		}
	}
	verified, _ := m.collect(publishes, verifiedOf)
	out.Verified = LatencyOf(verified)
	back, _ := m.collect(rollbacks, appliedOf)
	out.Rollback, out.RollbackCDF = LatencyOf(back), CDFOf(back, len(back))
	if out.Bound > 0 {
		out.RatioToBound, out.RollbackRatio = out.P99/out.Bound, out.Rollback.P99/out.Bound
	}
	out.Roles = r.Roles(r.before)
	out.Capacity = capacityOf(cfg, out)
	return out
}

// Roles of hosts, in the order of reports.
const (
	RoleLeader      = "leader"
	RoleCoordinator = "coordinator"
	RoleRelay       = "relay"
	RoleLeaf        = "leaf"
)

var roles = []string{RoleLeader, RoleCoordinator, RoleRelay, RoleLeaf}

func roleOf(w *world.World, i int32) string {
	switch h := w.Host(i); {
	case w.IsLeader(i):
		return RoleLeader
	case w.IsCoordinator(i):
		return RoleCoordinator
	case !h.Down() && h.Node().Children() > 0:
		return RoleRelay
	}
	return RoleLeaf
}

// Roles adds up, by role, what hosts have sent and spent since before, which Traffic
// returned.
func (r *Run) Roles(before []world.Traffic) []RoleTraffic {
	byRole := map[string]*RoleTraffic{}
	for i, earlier := range before {
		role := roleOf(r.World, int32(i))
		t := byRole[role]
		if t == nil {
			t = &RoleTraffic{Role: role}
			byRole[role] = t
		}
		t.add(r.World.Host(int32(i)).Traffic().Minus(earlier))
	}
	var out []RoleTraffic
	for _, role := range roles {
		if t := byRole[role]; t != nil {
			out = append(out, *t)
		}
	}
	return out
}

func (t *RoleTraffic) add(spent world.Traffic) {
	t.Hosts++
	t.Total.Add(spent)
	t.Busiest = t.Busiest.Most(spent)
}

// depth returns the number of hops from a coordinator to the deepest agent.
func depth(w *world.World) (deepest int) {
	for i := range w.Regions() {
		h := w.Host(int32(i))
		if h.Down() {
			continue
		}
		for _, a := range h.Node().Planner().Agents() {
			deepest = max(deepest, a.Depth)
		}
	}
	return deepest
}

// idleWindow is how long a fleet at rest is watched. The cost is reported for a minute.
const idleWindow = 12 * time.Second

// Idle measures a fleet at rest: the traffic of a minute, by role.
func (r *Run) Idle() []RoleTraffic {
	before := r.Traffic()
	r.World.Run(r.World.Now().Add(idleWindow))
	out := r.Roles(before)
	const scale = int64(time.Minute / idleWindow)
	for i := range out {
		out[i].Total, out[i].Busiest = out[i].Total.Times(scale), out[i].Busiest.Times(scale)
	}
	return out
}

// WithoutIdle measures the fleet at rest and subtracts, from the cost of the updates in
// report, what the fleet would have cost in the same time without updates.
func (r *Run) WithoutIdle(report *Report) {
	minutes := time.Duration(r.World.Now() - r.Start).Minutes()
	report.Idle = r.Idle()
	for i := range report.Roles {
		t := &report.Roles[i]
		rest := Role(report.Idle, t.Role)
		t.Total = t.Total.Without(rest.Total, minutes)
		t.Busiest = t.Busiest.Without(rest.Busiest, minutes)
	}
	report.Capacity = capacityOf(r.World.Config(), report)
}

// Role returns the traffic of one role, or a RoleTraffic of no host if the role is absent.
func Role(all []RoleTraffic, role string) RoleTraffic {
	if i := slices.IndexFunc(all, func(t RoleTraffic) bool { return t.Role == role }); i >= 0 {
		return all[i]
	}
	return RoleTraffic{Role: role}
}
