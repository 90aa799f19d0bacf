package coordinator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/mesh/wire"
	"banyan/versionstore"
)

// kindHost is the kind of the documents that hold the inventory, by region and name of a host.
const kindHost = "host"

// inventory lists the hosts of the fleet: those that have ever
// attached, until a person retires them. Coordinators report which hosts are in their trees
// (see roster); the leader stores the list. Methods are safe for concurrent use.
type inventory struct {
	ledger *ledger.Ledger
	name   string // of this coordinator, as the writer
	leads  bool
	log    *slog.Logger

	mu       sync.Mutex
	hosts    map[hostKey]*host
	reports  map[string]*report // by coordinator
	unstored map[hostKey]struct{}
	counts   map[hostKey]hostCount // by region and config; emptied by each change
	full     bool                  // a host was left out, which was logged
}

// hostCount is the number of hosts of a region that subscribe to a config, and the hosts among
// them that are not heard of.
type hostCount struct {
	hosts   int
	unheard []absent
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
	// via is the coordinator whose tree has the host; "" if the host is in no tree.
	via   string
	index uint32 // in that tree
}

// storedHost is the stored form of a host.
type storedHost struct {
	Subscriptions wire.Subscriptions `json:"subscriptions,omitempty"`
	// Since is when the host attached first.
	Since time.Time `json:"since"`
	// Heard is when the host was last heard of: when it attached or left, in the store. It is zero
	// if the host has never attached.
	Heard time.Time `json:"heard,omitzero"`
}

// report is what a coordinator has told of its tree.
type report struct {
	region string
	hosts  map[string]struct{}
	at     time.Time // of the newest report
}

func newInventory(l *ledger.Ledger, name string, leads bool, log *slog.Logger) *inventory {
	return &inventory{
		ledger:   l,
		name:     name,
		leads:    leads,
		log:      log,
		hosts:    map[hostKey]*host{},
		reports:  map[string]*report{},
		unstored: map[hostKey]struct{}{},
		counts:   map[hostKey]hostCount{},
	}
}

// load reads the stored hosts. A host that can't be read is listed with what its name says.
func (v *inventory) load(ctx context.Context) error {
	documents, err := versionstore.ListAll(ctx, v.ledger, kindHost)
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range documents {
		region, name, ok := strings.Cut(d.Name, " ")
		if !ok {
			continue
		}
		h := &host{seq: d.Seq, storedHost: storedHost{Since: d.At}}
		if d.Damaged == nil {
			err = json.Unmarshal(d.Raw, &h.storedHost)
		}
		if d.Damaged != nil || err != nil {
			v.log.Warn("host in the inventory can't be read; it stays listed", "host", name, "of", region)
		}
		v.hosts[hostKey{region, name}] = h
	}
	return nil
}

// hear takes a report of a coordinator. It reports whether the coordinator must tell of all its
// hosts again: some of its reports were lost, or this coordinator started after them.
func (v *inventory) hear(coordinator, region string, in api.Roster) (again bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	r := v.reports[coordinator]
	if r == nil && !in.First {
		return true
	}
	if r == nil || in.First {
		v.forget(coordinator, now)
		r = &report{region: region, hosts: map[string]struct{}{}}
		v.reports[coordinator] = r
	}
	r.at = now
	if len(in.Left)+len(in.Hosts) > 0 {
		clear(v.counts)
	}
	for _, name := range in.Left {
		v.left(coordinator, hostKey{region, name}, now)
		delete(r.hosts, name)
	}
	for _, m := range in.Hosts {
		v.attached(coordinator, hostKey{region, m.Name}, m, now)
		r.hosts[m.Name] = struct{}{}
	}
	return in.Last && len(r.hosts) != in.Total
}

// forget takes the hosts of a coordinator for gone. The caller holds mu.
func (v *inventory) forget(coordinator string, at time.Time) {
	r := v.reports[coordinator]
	if r == nil {
		return
	}
	clear(v.counts)
	for name := range r.hosts {
		v.left(coordinator, hostKey{r.region, name}, at)
	}
	delete(v.reports, coordinator)
}

// left notes that a host is not in a coordinator's tree any more. The caller holds mu.
func (v *inventory) left(coordinator string, key hostKey, at time.Time) {
	h := v.hosts[key]
	if h == nil || h.via != coordinator {
		return
	}
	h.via = ""
	h.Heard = at
	v.unstored[key] = struct{}{}
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
	if h.seq == 0 || h.Heard.IsZero() || h.Subscriptions != scopes {
		v.unstored[key] = struct{}{}
	}
	h.Subscriptions = scopes
	h.Heard = at
	h.via = coordinator
	h.index = m.Index
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
	v.hosts[key] = h
	v.unstored[key] = struct{}{}
	return h
}

// expire takes the hosts of coordinators that have not reported since before for gone.
func (v *inventory) expire(before time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for coordinator, r := range v.reports {
		if r.at.Before(before) {
			v.forget(coordinator, r.at)
		}
	}
}

// store stores what changed, at most hostBatch hosts in one transaction.
func (v *inventory) store(ctx context.Context) {
	for {
		var keys []hostKey
		err := v.ledger.Update(func(w *ledger.Writer) error {
			var writes []versionstore.DocumentWrite
			keys, writes = v.batch()
			if len(keys) == 0 {
				return nil
			}
			_, err := w.Commit(ctx, ledger.Act{By: v.name}, ledger.Changes{Documents: writes})
			if err == nil {
				v.stored(keys)
			}
			return err
		})
		if err != nil {
			v.failed(ctx, keys, err)
			return
		}
		if len(keys) == 0 {
			return
		}
	}
}

// batch takes hosts out of unstored, and returns them with their writes.
func (v *inventory) batch() (keys []hostKey, writes []versionstore.DocumentWrite) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key := range v.unstored {
		if len(keys) == hostBatch {
			break
		}
		h := v.hosts[key]
		if h == nil { // retired
			delete(v.unstored, key)
			continue
		}
		raw, err := json.Marshal(h.storedHost)
		if err != nil {
			break
		}
		keys = append(keys, key)
		writes = append(writes, versionstore.DocumentWrite{Kind: kindHost, Name: key.document(), Raw: raw, IfSeq: h.seq})
		delete(v.unstored, key)
	}
	return keys, writes
}

// stored notes that a batch is stored. A host that was retired meanwhile is not listed.
func (v *inventory) stored(keys []hostKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, key := range keys {
		if h := v.hosts[key]; h != nil {
			h.seq++
		}
	}
}

// failed puts a batch back.
func (v *inventory) failed(ctx context.Context, keys []hostKey, err error) {
	if ctx.Err() == nil {
		v.log.Warn("inventory not stored; it is tried again", "error", err)
	}
	for _, key := range keys {
		v.putBack(ctx, key)
	}
}

// putBack stores a host again later. The sequence of its document is read anew: the write that
// failed may have happened.
func (v *inventory) putBack(ctx context.Context, key hostKey) {
	d, err := v.ledger.Document(ctx, kindHost, key.document())
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.hosts[key]
	if h == nil {
		return
	}
	v.unstored[key] = struct{}{}
	if err == nil {
		h.seq = d.Seq
	}
}

// run stores the inventory and drops silent coordinators until ctx ends. Then it stores when the
// hosts were last heard of.
func (v *inventory) run(ctx context.Context) {
	ticker := time.NewTicker(inventoryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			v.expire(time.Now())
			if v.leads {
				v.store(context.WithoutCancel(ctx))
			}
			return
		}
		v.expire(time.Now().Add(-rosterAge))
		if v.leads {
			v.store(ctx)
		}
	}
}

// retire removes a host that is in no tree, or returns an error that says why not.
func (v *inventory) retire(ctx context.Context, key hostKey, by string) error {
	return v.ledger.Update(func(w *ledger.Writer) error {
		v.mu.Lock()
		listed := v.hosts[key]
		var h host
		if listed != nil {
			h = *listed
		}
		v.mu.Unlock()
		switch {
		case listed == nil:
			return &api.Error{
				Code:    api.CodeNotFound,
				Message: fmt.Sprintf("host %s is not in the inventory of region %s", key.name, key.region),
			}
		case h.via != "":
			return &api.Error{
				Code:    api.CodeConflict,
				Message: fmt.Sprintf("host %s is attached to %s; nothing was changed", key.name, h.via),
				Hint:    "stop its agent first: a host that attaches is listed again",
			}
		}
		act := ledger.Act{By: by, What: fmt.Sprintf("retired host %s of region %s", key.name, key.region)}
		var writes []versionstore.DocumentWrite
		if h.seq != 0 {
			writes = append(writes, versionstore.DocumentWrite{Kind: kindHost, Name: key.document(), IfSeq: h.seq})
		}
		if _, err := w.Commit(ctx, act, ledger.Changes{Documents: writes}); err != nil {
			return err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		clear(v.counts)
		if listed.via != "" { // the host attached meanwhile: it is listed again
			listed.seq = 0
			v.unstored[key] = struct{}{}
			return nil
		}
		delete(v.hosts, key)
		delete(v.unstored, key)
		return nil
	})
}

// find returns the host with a name. region is needed only if several regions have such a host.
func (v *inventory) find(name, region string) (hostKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []hostKey
	for key := range v.hosts {
		if key.name == name && (region == "" || key.region == region) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return hostKey{}, &api.Error{
			Code:    api.CodeNotFound,
			Message: fmt.Sprintf("host %q is not in the inventory", name),
			Hint:    "'banyan agents --all' lists it",
		}
	case 1:
		return found[0], nil
	}
	return hostKey{}, &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("%d regions have a host %q", len(found), name),
		Hint:    "choose with --region",
	}
}

// list returns all hosts, by region and name.
func (v *inventory) list() []api.Host {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]api.Host, 0, len(v.hosts))
	for key, h := range v.hosts {
		all = append(all, apiHost(key, h))
	}
	slices.SortFunc(all, func(a, b api.Host) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// count counts the hosts of a region that subscribe to config. Of those that are not heard of,
// those that are missed longest come first. The caller must not modify them.
func (v *inventory) count(region, config string) (c hostCount) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.counts[hostKey{region, config}]
	if ok {
		return c
	}
	for key, h := range v.hosts {
		if key.region != region || !h.Subscriptions.Include(config) {
			continue
		}
		c.hosts++
		if h.via == "" {
			c.unheard = append(c.unheard, absent{key.name, h.Heard})
		}
	}
	slices.SortFunc(c.unheard, func(a, b absent) int {
		return cmp.Or(a.heard.Compare(b.heard), cmp.Compare(a.name, b.name))
	})
	if len(v.counts) >= maxCounts {
		clear(v.counts)
	}
	v.counts[hostKey{region, config}] = c
	return c
}

// names returns the names of some agents of a region by their indices, sorted; at most limit.
func (v *inventory) names(region string, indices *roaring.Bitmap, limit int) []string {
	if indices.IsEmpty() {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	names := map[string]struct{}{}
	for key, h := range v.hosts {
		if key.region == region && h.via != "" && indices.Contains(h.index) {
			names[key.name] = struct{}{}
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	return sorted[:min(limit, len(sorted))]
}
