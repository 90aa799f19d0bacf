package coordinator

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"banyan/coordinator/ledger"
	"banyan/mesh"
	"banyan/transport"
)

// muster keeps a leader that has just started from writing until a host of each region is attached.
// The leader's store may be an old copy, and only the hosts know. A host with newer records sends
// them as soon as it is attached, and then the leader stops writing (see lineage). The wait is
// bounded, because a fleet whose hosts are all down must be usable. A leader without hosts in the
// inventory does not wait.
type muster struct {
	ledger *ledger.Ledger
	driver *transport.Driver
	log    *slog.Logger
	until  time.Time
	hosts  map[string]int // size of each region without an attached host; used by run after begin
	done   chan struct{}  // closed at the end of the wait
}

func newMuster(l *ledger.Ledger, log *slog.Logger) *muster {
	return &muster{ledger: l, log: log, done: make(chan struct{})}
}

// begin begins the wait. hosts is the number of hosts in each region. The wait lasts for at most limit.
func (m *muster) begin(hosts map[string]int, limit time.Duration) {
	m.hosts = hosts
	m.until = time.Now().Add(limit)
	if len(hosts) > 0 && limit > 0 {
		m.wait()
	}
}

// wait makes the ledger refuse writes with an error that names the regions without an attached host.
func (m *muster) wait() {
	e := &ledger.WaitingError{Until: m.until, Regions: slices.Sorted(maps.Keys(m.hosts))}
	for _, n := range m.hosts {
		e.Hosts += n
	}
	m.ledger.Wait(e)
}

// run waits, and then lets the ledger write.
func (m *muster) run(ctx context.Context) {
	defer close(m.done)
	defer m.ledger.Proceed()
	ticker := time.NewTicker(musterEvery)
	defer ticker.Stop()
	for m.ledger.Waiting() != nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		m.look(ctx)
		if len(m.hosts) == 0 {
			sleep(ctx, objectionWait)
			return
		}
		if time.Now().After(m.until) {
			m.log.Warn("no host was heard of since the start: this leader writes without having compared its store with theirs",
				"regions", slices.Sorted(maps.Keys(m.hosts)))
			return
		}
	}
}

// look removes the regions with an attached host from hosts.
func (m *muster) look(ctx context.Context) {
	var met []string
	waiting := slices.Collect(maps.Keys(m.hosts))
	running := m.driver.Do(ctx, func(n *mesh.Node) {
		for _, region := range waiting {
			if n.Meets(region) {
				met = append(met, region)
			}
		}
	})
	if !running || len(met) == 0 {
		return
	}
	for _, region := range met {
		delete(m.hosts, region)
	}
	if len(m.hosts) > 0 {
		m.wait()
	}
}

// await returns after the end of the wait, or of ctx. It reports whether ctx goes on.
func (m *muster) await(ctx context.Context) bool {
	select {
	case <-m.done:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
