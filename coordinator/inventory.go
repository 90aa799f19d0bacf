package coordinator

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/internal/episode"
	"banyan/mesh/wire"
	"banyan/record"
)

// inventory lists the hosts of the fleet: those that were issued an identity, if the leader was
// told, and those that have ever attached, until a person retires them. Coordinators report which
// hosts are in their trees (see roster); the leader stores the list. Methods are safe for
// concurrent use.
type inventory struct {
	ledger *ledger.Ledger
	name   string // of this coordinator, as the writer
	leads  bool
	log    *slog.Logger
	failed episode.Set[string] // failures to store
	// reported is the time at which the times of reports were stored last. Only store uses it, and
	// one goroutine at a time calls store.
	reported time.Time

	// changed is called, with mu held, if hosts of a region have come, left, or changed; nil for nothing.
	changed func(region string)

	mu       sync.Mutex // guards the fields below
	hosts    map[hostKey]*host
	regions  map[string]*regionHosts
	reports  map[string]*report // by coordinator
	unstored map[hostKey]struct{}
	counts   map[string]map[string]hostCount // by region and config; emptied by each change in the region
	full     bool                            // a host was left out, which was logged
}

// regionHosts are the hosts of a region.
type regionHosts struct {
	hosts map[string]*host // by name
	// audiences is the number of hosts with each set of subscriptions.
	audiences map[wire.Subscriptions]int
}

// hostCount is the number of hosts of a region that subscribe to a config, and the hosts among
// them that are not heard of, or whose identity several processes have.
type hostCount struct {
	hosts   int
	unheard []absent
	cloned  []string
}

// absent is a host that is in no tree.
type absent struct {
	name  string
	heard time.Time // zero if the host has never attached
}

type hostKey struct{ region, name string }

func (k hostKey) document() string { return k.region + " " + k.name }

// host is a host of the inventory.
type host struct {
	storedHost
	seq uint64 // of the stored document; 0 if there is none
	// attached is true if the host is in the tree of the coordinator Via.
	attached bool
	index    uint32 // in that tree
	// cloned is true if several live processes in that tree run with the host's identity.
	cloned bool
}

// storedHost is the stored form of a host.
type storedHost struct {
	Subscriptions wire.Subscriptions `json:"subscriptions,omitempty"`
	// Since is when the host was listed: when its identity was issued, or when it attached first.
	Since time.Time `json:"since"`
	// Heard is when the host attached or left last. It is zero if the host has never attached.
	Heard time.Time `json:"heard,omitzero"`
	// Via is the coordinator that reported the host last; "" if that coordinator has reported that
	// the host left. The host was heard of whenever that coordinator reported.
	Via string `json:"via,omitempty"`
}

// report holds the reports of a coordinator since it last named all hosts in its tree.
type report struct {
	region string
	hosts  map[string]struct{}
	whole  bool      // every part of the report of all hosts has come
	at     time.Time // of the newest report
}

func newInventory(l *ledger.Ledger, name string, leads bool, log *slog.Logger) *inventory {
	return &inventory{
		ledger:   l,
		name:     name,
		leads:    leads,
		log:      log,
		hosts:    map[hostKey]*host{},
		regions:  map[string]*regionHosts{},
		reports:  map[string]*report{},
		unstored: map[hostKey]struct{}{},
		counts:   map[string]map[string]hostCount{},
	}
}

// hear takes a report of a coordinator. again is true if the coordinator must name all hosts in its
// tree again, because earlier reports were lost or came before this coordinator started.
func (v *inventory) hear(coordinator, region string, in api.Roster) (again bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	r := v.reports[coordinator]
	if r == nil && (!in.First || len(v.reports) >= maxReporters) {
		return true
	}
	if in.First {
		r = &report{region: region, hosts: map[string]struct{}{}}
		v.reports[coordinator] = r
	}
	r.at = now
	if len(in.Left)+len(in.Hosts) > 0 {
		v.recount(region)
	}
	for _, name := range in.Left {
		v.left(coordinator, hostKey{region, name}, now)
		delete(r.hosts, name)
	}
	for _, m := range in.Hosts {
		v.attached(coordinator, hostKey{region, m.Name}, m, now)
		r.hosts[m.Name] = struct{}{}
	}
	if in.Last && len(r.hosts) != in.Total {
		return true
	}
	if in.Last && !r.whole {
		r.whole = true
		v.sweep(coordinator, r)
	}
	return false
}

// sweep notes that hosts have left a coordinator's tree: those that the coordinator reported earlier
// and does not name in r, a report of all its hosts. The caller holds mu.
func (v *inventory) sweep(coordinator string, r *report) {
	for key, h := range v.hosts {
		if _, named := r.hosts[key.name]; h.Via == coordinator && (key.region != r.region || !named) {
			v.left(coordinator, key, h.Heard)
		}
	}
}

// forget marks the hosts of a coordinator that has stopped reporting as not attached. Their Via
// stays, because the coordinator may report them again. The caller holds mu.
func (v *inventory) forget(coordinator string) {
	at := v.reports[coordinator].at
	for key, h := range v.hosts {
		if h.Via == coordinator && h.attached {
			h.attached = false
			h.Heard = at
			v.recount(key.region)
		}
	}
	delete(v.reports, coordinator)
}

// left notes that a host is not in a coordinator's tree any more, and when the host was last
// heard of. The caller holds mu.
func (v *inventory) left(coordinator string, key hostKey, at time.Time) {
	h := v.hosts[key]
	if h == nil || h.Via != coordinator {
		return
	}
	h.attached = false
	h.Via = ""
	h.Heard = at
	v.unstored[key] = struct{}{}
	v.recount(key.region)
}

// attached notes that a host is in a coordinator's tree. The caller holds mu.
func (v *inventory) attached(coordinator string, key hostKey, m api.RosterHost, at time.Time) {
	h := v.hosts[key]
	if h == nil {
		h = v.add(key, at)
	}
	if h == nil {
		return
	}
	scopes := wire.Subscriptions(m.Subscriptions)
	if h.seq == 0 || h.Via != coordinator || h.Subscriptions != scopes {
		v.unstored[key] = struct{}{}
	}
	v.subscribe(key, h, scopes)
	h.Heard = at
	h.Via = coordinator
	h.attached = true
	h.index = m.Index
	h.cloned = m.Cloned
}

// add lists a host, or returns nil if the inventory is full. The caller holds mu.
func (v *inventory) add(key hostKey, at time.Time) *host {
	if len(v.hosts) >= maxInventory {
		if !v.full {
			v.log.Error("the inventory is full: more hosts are not listed; retire hosts that are gone", "limit", maxInventory)
		}
		v.full = true
		return nil
	}
	h := &host{storedHost: storedHost{Since: at}}
	v.enter(key, h)
	v.unstored[key] = struct{}{}
	return h
}

// enter adds a host. The caller holds mu.
func (v *inventory) enter(key hostKey, h *host) {
	v.hosts[key] = h
	r := v.regions[key.region]
	if r == nil {
		r = &regionHosts{hosts: map[string]*host{}, audiences: map[wire.Subscriptions]int{}}
		v.regions[key.region] = r
	}
	r.hosts[key.name] = h
	r.audiences[h.Subscriptions]++
	v.recount(key.region)
}

// remove removes a host. The caller holds mu.
func (v *inventory) remove(key hostKey) {
	r := v.regions[key.region]
	r.leave(v.hosts[key].Subscriptions)
	delete(r.hosts, key.name)
	delete(v.hosts, key)
	delete(v.unstored, key)
	v.recount(key.region)
}

// subscribe sets the subscriptions of a host. The caller holds mu.
func (v *inventory) subscribe(key hostKey, h *host, scopes wire.Subscriptions) {
	r := v.regions[key.region]
	r.leave(h.Subscriptions)
	r.audiences[scopes]++
	h.Subscriptions = scopes
}

// leave takes a host with the given subscriptions out of the audiences.
func (r *regionHosts) leave(scopes wire.Subscriptions) {
	r.audiences[scopes]--
	if r.audiences[scopes] == 0 {
		delete(r.audiences, scopes)
	}
}

// of returns the hosts of a region, by name. The caller holds mu.
func (v *inventory) of(region string) map[string]*host {
	if r := v.regions[region]; r != nil {
		return r.hosts
	}
	return nil
}

// recount has the hosts of a region counted again. The caller holds mu.
func (v *inventory) recount(region string) {
	delete(v.counts, region)
	if v.changed != nil {
		v.changed(region)
	}
}

// subscribers returns the number of hosts of a region that subscribe to config.
func (v *inventory) subscribers(region, config string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	if r := v.regions[region]; r != nil {
		for scopes, hosts := range r.audiences {
			if scopes.Include(config) {
				n += hosts
			}
		}
	}
	return n
}

// expire marks the hosts of coordinators whose last report came before the given time as not
// attached.
func (v *inventory) expire(before time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for coordinator, r := range v.reports {
		if r.at.Before(before) {
			v.forget(coordinator)
		}
	}
}

// list returns all hosts, by region and name. A host whose coordinator has not reported since
// fresh was heard of when that coordinator reported last.
func (v *inventory) list(fresh time.Time) []api.Host {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]api.Host, 0, len(v.hosts))
	for key, h := range v.hosts {
		out := apiHost(key, h)
		if h.attached {
			out.HeardAt = v.reports[h.Via].at
			out.Unreachable = out.HeardAt.Before(fresh)
		}
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b api.Host) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// count counts the hosts of a region that subscribe to config. Hosts that are not heard of are
// ordered by when they were last heard of, the earliest first. The caller must not modify the result.
func (v *inventory) count(region, config string) (c hostCount) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.counts[region][config]
	if ok {
		return c
	}
	for name, h := range v.of(region) {
		if !h.Subscriptions.Include(config) {
			continue
		}
		c.hosts++
		switch {
		case !h.attached:
			c.unheard = append(c.unheard, absent{name, h.Heard})
		case h.cloned:
			c.cloned = append(c.cloned, name)
		}
	}
	slices.Sort(c.cloned)
	slices.SortFunc(c.unheard, func(a, b absent) int {
		return cmp.Or(a.heard.Compare(b.heard), cmp.Compare(a.name, b.name))
	})
	if len(v.counts[region]) >= maxCounts {
		delete(v.counts, region)
	}
	if v.counts[region] == nil {
		v.counts[region] = map[string]hostCount{}
	}
	v.counts[region][config] = c
	return c
}

// places returns the places, in the order of waves, of the attached hosts of a region that
// subscribe to config, without the hosts with the indices in excused.
func (v *inventory) places(region, config string, excused *roaring.Bitmap) []uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	var places []uint32
	for name, h := range v.of(region) {
		if h.attached && h.Subscriptions.Include(config) && !excused.Contains(h.index) {
			places = append(places, record.WavePlace(config, name))
		}
	}
	slices.Sort(places)
	return places
}

// everHeard returns the number of hosts in each region that have ever attached.
func (v *inventory) everHeard() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	hosts := map[string]int{}
	for key, h := range v.hosts {
		if !h.Heard.IsZero() {
			hosts[key.region]++
		}
	}
	return hosts
}

// names returns the names of those agents of a region with the given indices that subscribe to
// config, sorted; at most limit.
func (v *inventory) names(region, config string, indices *roaring.Bitmap, limit int) []string {
	if indices.IsEmpty() || limit <= 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var names []string
	for name, h := range v.of(region) {
		if h.attached && indices.Contains(h.index) && h.Subscriptions.Include(config) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))]
}
