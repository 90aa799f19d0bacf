package simulator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/record"
)

// Run is a fleet on its way through a run: the world, what is measured of it, and
// when its time began.
type run struct {
	w        *World
	meter    *meter
	start    step.Time // everyone had joined
	before   []Traffic // of each host, at the start
	timeline []Sample
	notes    []Note
	sent     int64 // messages, before a body spread
}

// ErrStopped says that a run was ended from outside.
var ErrStopped = errors.New("the run was stopped")

// joinLimit is how much virtual time a fleet has to join.
const joinLimit = 10 * time.Minute

// newRun makes a fleet and lets it join. running names the configs whose first
// version it runs already.
func newRun(cfg Config, running ...string) (*run, error) {
	w, err := NewWorld(cfg)
	if err != nil {
		return nil, err
	}
	r := &run{w: w, meter: newMeter(w)}
	for _, config := range running {
		w.preload(config)
	}
	w.Boot()
	err = w.Settle(joinLimit)
	if w.stopped {
		return nil, ErrStopped
	}
	if err != nil {
		return nil, fmt.Errorf("the fleet does not join: %w", err)
	}
	w.BeginHeads()
	r.start = w.now
	r.before = w.traffic()
	return r, nil
}

// traffic is what each host has sent so far.
func (w *World) traffic() []Traffic {
	all := make([]Traffic, len(w.hosts))
	for i := range w.hosts {
		all[i] = w.hosts[i].traffic
	}
	return all
}

func (r *run) second() float64 { return time.Duration(r.w.now - r.start).Seconds() }

func (r *run) note(text string, fault bool) {
	r.notes = append(r.notes, Note{r.second(), text, fault})
}

// updateLimit is how much virtual time an update of the plain run has.
const updateLimit = 2 * time.Minute

// Simulate runs the plain measurement: a new version and its rollback, on a fleet
// that runs another and is at rest.
func Simulate(cfg Config) (*Report, error) {
	const config = "capacity/plan"
	r, err := newRun(cfg, config)
	if err != nil {
		return nil, err
	}
	var body *BodyReport
	if v := (record.VersionKey{Config: config, Version: 2}); r.w.isTraded(v) {
		body = r.bodyReport(r.spread(Change{Config: config, Version: 2}, 0))
		body.Arrangement, body.Condition = BodyRun{}.name(), BodyRun{}.condition()
	} else {
		r.update(Change{Config: config, Version: 2}, false)
	}
	r.update(Change{Config: config, Version: 1}, true)
	if r.w.stopped {
		return nil, ErrStopped
	}
	out := r.report()
	out.Body = body
	return out, nil
}

// update moves a config's pointers and runs until everyone has applied it and the
// acknowledgements are through.
func (r *run) update(c Change, rollback bool) *update {
	u := r.meter.move(c, rollback)
	r.w.RunUntil(r.w.now.Add(updateLimit), 5*time.Millisecond, func() bool { return u.missing == 0 && r.committed(u) })
	r.w.Run(r.w.now.Add(500 * time.Millisecond))
	return u
}

// committed tells whether an update was committed in all of its regions.
func (r *run) committed(u *update) bool {
	return r.w.now > u.began.Add(r.w.cfg.commit())
}

// report summarizes a run at its end.
func (r *run) report() *Report {
	w, m := r.w, r.meter
	out := &Report{Nodes: w.Hosts() - w.regions(), Regions: w.regions(), Fanout: w.cfg.Fanout, Seed: w.cfg.Seed,
		Updates: len(m.updates), Missed: m.missed(), Coverage: m.coverage(), Depth: w.depth(),
		Timeline: r.timeline, Notes: r.notes, VirtualSeconds: time.Duration(w.now).Seconds(), Events: w.events,
		History: fmt.Sprintf("%016x", m.history.Sum64()), Bound: millis(w.cfg.Bound())}
	all, byRegion := m.collect(publishes, appliedOf)
	out.Rest = latencyOf(all)
	out.P50, out.P99, out.Max, out.CDF = out.Rest.P50, out.Rest.P99, out.Rest.Max, cdfOf(all, len(all))
	for i, name := range w.cfg.Network.Matrix.Regions {
		if w.cfg.Agents[i] > 0 {
			out.ByRegion = append(out.ByRegion, RegionLatency{name, w.cfg.Agents[i], latencyOf(byRegion[i])})
		}
	}
	verified, _ := m.collect(publishes, verifiedOf)
	out.Verified = latencyOf(verified)
	back, _ := m.collect(rollbacks, appliedOf)
	out.Rollback, out.RollbackCDF = latencyOf(back), cdfOf(back, len(back))
	if out.Bound > 0 {
		out.RatioToBound, out.RollbackRatio = out.P99/out.Bound, out.Rollback.P99/out.Bound
	}
	out.Roles = r.roles(r.before)
	out.Capacity = capacityOf(w.cfg, out)
	return out
}

// Roles of hosts, in the order in which they are reported.
const (
	roleLeader      = "leader"
	roleCoordinator = "coordinator"
	roleRelay       = "relay"
	roleLeaf        = "leaf"
)

var roles = []string{roleLeader, roleCoordinator, roleRelay, roleLeaf}

func (w *World) role(i int32) string {
	switch {
	case w.isLeader(i):
		return roleLeader
	case w.isRoot(i):
		return roleCoordinator
	case !w.hosts[i].down && w.hosts[i].node.Children() > 0:
		return roleRelay
	}
	return roleLeaf
}

// roles adds up, by role, what hosts have sent since before.
func (r *run) roles(before []Traffic) []RoleTraffic {
	byRole := map[string]*RoleTraffic{}
	for i := range r.w.hosts {
		role := r.w.role(int32(i))
		t := byRole[role]
		if t == nil {
			t = &RoleTraffic{Role: role}
			byRole[role] = t
		}
		t.add(r.w.hosts[i].traffic.minus(before[i]))
	}
	var out []RoleTraffic
	for _, role := range roles {
		if t := byRole[role]; t != nil {
			out = append(out, *t)
		}
	}
	return out
}

func (t *RoleTraffic) add(spent Traffic) {
	t.Hosts++
	t.Total.add(spent)
	t.Busiest = t.Busiest.most(spent)
}

func (t Traffic) most(o Traffic) Traffic {
	return Traffic{max(t.Messages, o.Messages), max(t.Bytes, o.Bytes), max(t.CrossRegion, o.CrossRegion),
		max(t.CrossZone, o.CrossZone), max(t.Connections, o.Connections), max(t.CPU, o.CPU)}
}

// depth is the number of hops from a coordinator to the deepest agent.
func (w *World) depth() (deepest int) {
	for i := range w.regions() {
		if w.hosts[i].down {
			continue
		}
		for _, a := range w.hosts[i].node.Planner().Agents() {
			deepest = max(deepest, a.Depth)
		}
	}
	return deepest
}

// idleWindow is how long a fleet at rest is watched; the cost is told for a minute.
const idleWindow = 12 * time.Second

// idle measures a fleet at rest.
func (r *run) idle() []RoleTraffic {
	before := r.w.traffic()
	r.w.Run(r.w.now.Add(idleWindow))
	out := r.roles(before)
	scale := int64(time.Minute / idleWindow)
	for i := range out {
		out[i].Total, out[i].Busiest = out[i].Total.times(scale), out[i].Busiest.times(scale)
	}
	return out
}

// withoutIdle measures the fleet at rest, and takes from the cost of the updates
// what the fleet would have cost in that time without them.
func (r *run) withoutIdle(out *Report) {
	minutes := time.Duration(r.w.now - r.start).Minutes()
	out.Idle = r.idle()
	for i := range out.Roles {
		t := &out.Roles[i]
		rest := Role(out.Idle, t.Role)
		t.Total = t.Total.without(rest.Total, minutes)
		t.Busiest = t.Busiest.without(rest.Busiest, minutes)
	}
	out.Capacity = capacityOf(r.w.cfg, out)
}

// without takes o, scaled, from t; nothing becomes negative.
func (t Traffic) without(o Traffic, scale float64) Traffic {
	less := func(a, b int64) int64 { return max(a-int64(float64(b)*scale), 0) }
	return Traffic{less(t.Messages, o.Messages), less(t.Bytes, o.Bytes), less(t.CrossRegion, o.CrossRegion),
		less(t.CrossZone, o.CrossZone), t.Connections, time.Duration(less(int64(t.CPU), int64(o.CPU)))}
}

func (t Traffic) times(n int64) Traffic {
	return Traffic{t.Messages * n, t.Bytes * n, t.CrossRegion * n, t.CrossZone * n, t.Connections * n, t.CPU * time.Duration(n)}
}

// Role returns the traffic of one role; its zero value if there is none.
func Role(all []RoleTraffic, role string) RoleTraffic {
	if i := slices.IndexFunc(all, func(t RoleTraffic) bool { return t.Role == role }); i >= 0 {
		return all[i]
	}
	return RoleTraffic{Role: role}
}
