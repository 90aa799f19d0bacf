package coordinator

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/mesh"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/transport"
	"banyan/transport/identity"
)

// roster reports the hosts in this coordinator's tree to the coordinator's own inventory and, over the
// control API, to the leader's inventory. A report names the changes since the report before.
type roster struct {
	self      identity.Identity
	driver    *transport.Driver
	inventory *inventory
	leader    *api.Client   // nil if this coordinator leads
	wake      chan struct{} // holds a value after agents came or left
	log       *slog.Logger

	own, far told
}

// told is what a receiver of reports has been told.
type told struct {
	hosts map[string]api.RosterHost // nil before the first report
}

// signal asks for a report. It never blocks.
func (r *roster) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run reports until ctx ends.
func (r *roster) run(ctx context.Context) {
	ticker := time.NewTicker(rosterEvery)
	defer ticker.Stop()
	for {
		r.report(ctx)
		select {
		case <-ticker.C:
		case <-r.wake:
			// Agents that come together are reported together.
			select {
			case <-time.After(censusDelay):
			case <-ctx.Done():
			}
		case <-ctx.Done():
			return
		}
	}
}

// report tells the own inventory and the leader's.
func (r *roster) report(ctx context.Context) {
	hosts := map[string]api.RosterHost{}
	running := r.driver.Do(ctx, func(n *mesh.Node) {
		for _, a := range n.Planner().Agents() {
			if a.Attached {
				hosts[a.Name] = rosterHost(a)
			}
		}
	})
	if !running {
		return
	}
	r.own.tell(hosts, func(in api.Roster) (bool, error) {
		return r.inventory.hear(r.self.Name, r.self.Region, in), nil
	})
	if r.leader == nil {
		return
	}
	err := r.far.tell(hosts, func(in api.Roster) (bool, error) { return r.leader.PutRoster(ctx, in) })
	if err != nil && ctx.Err() == nil {
		r.log.Debug("hosts not reported to the leader", "error", err)
	}
}

// tell sends what changed, in parts of at most rosterBatch hosts. After an error, or if the
// receiver asks for it, the next report tells of all hosts.
func (t *told) tell(hosts map[string]api.RosterHost, send func(api.Roster) (again bool, err error)) error {
	in := api.Roster{First: t.hosts == nil, Total: len(hosts)}
	for name := range t.hosts {
		if _, ok := hosts[name]; !ok {
			in.Left = append(in.Left, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if held, ok := t.hosts[name]; !ok || held != hosts[name] {
			in.Hosts = append(in.Hosts, hosts[name])
		}
	}
	t.hosts = nil
	for {
		part := in
		part.Hosts = in.Hosts[:min(rosterBatch, len(in.Hosts))]
		part.Left = in.Left[:min(rosterBatch, len(in.Left))]
		in.Hosts = in.Hosts[len(part.Hosts):]
		in.Left = in.Left[len(part.Left):]
		in.First = false
		part.Last = len(in.Hosts) == 0 && len(in.Left) == 0
		again, err := send(part)
		if err != nil || again {
			return err
		}
		if part.Last {
			t.hosts = hosts
			return nil
		}
	}
}

func rosterHost(a tree.AgentPlace) api.RosterHost {
	h := api.RosterHost{Name: a.Name, Index: a.Index, Cloned: len(a.Clones) > 1}
	if a.Subscriptions != nil {
		h.Subscriptions = string(wire.Subscribe(a.Subscriptions...))
	}
	return h
}
