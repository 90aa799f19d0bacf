package simulator

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// meter follows the updates of a run: when each host had each, and how many hosts
// have the newest of every config.
type meter struct {
	w       *World
	updates []*update
	byEpoch map[epochKey]*update
	newest  map[ackKey]uint64 // epoch committed last
	have    map[ackKey]int    // agents that have it on disk
	history xxhash.Digest     // of every effect, in order
	effects uint64
}

type epochKey struct {
	ackKey
	epoch uint64
}

// update is one move of a config's pointers, and when each host had it.
type update struct {
	change   Change
	began    step.Time
	rollback bool    // it names an older version
	verified []int32 // by host, µs since began; never
	applied  []int32
	missing  int // agents that have not applied it
}

func newMeter(w *World) *meter {
	m := &meter{w: w, byEpoch: map[epochKey]*update{}, newest: map[ackKey]uint64{}, have: map[ackKey]int{}}
	m.history.Reset()
	w.watch.commits = append(w.watch.commits, m.committed)
	w.watch.verified = append(w.watch.verified, m.verified)
	w.watch.applied = append(w.watch.applied, m.applied)
	return m
}

// move moves a config's pointers and follows what comes of it.
func (m *meter) move(c Change, rollback bool) *update {
	u := &update{change: c, began: m.w.now, rollback: rollback, verified: blank(m.w.Hosts()), applied: blank(m.w.Hosts())}
	m.updates = append(m.updates, u)
	m.w.Move(c)
	return u
}

func blank(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = never
	}
	return s
}

func (m *meter) committed(a *wire.Announcement) {
	p := &a.Pointer
	key := ackKey{p.Config, p.Region}
	m.newest[key], m.have[key] = p.Epoch, 0
	for _, u := range slices.Backward(m.updates) {
		if u.change.Config == p.Config && int64(u.began)/1000 == p.TimeMicros {
			m.byEpoch[epochKey{key, p.Epoch}] = u
			u.missing += m.w.audienceOf(p.Region)
			return
		}
	}
}

func (m *meter) of(a *Applied) *update {
	return m.byEpoch[epochKey{m.key(a), a.Epoch}]
}

func (m *meter) key(a *Applied) ackKey {
	return ackKey{a.Config, m.w.hosts[a.Host].ident.Region}
}

func (m *meter) verified(a Applied) {
	if u := m.of(&a); u != nil && !m.w.isRoot(a.Host) {
		u.verified[a.Host] = toMicros(time.Duration(a.At - u.began))
	}
}

func (m *meter) applied(a Applied) {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], uint64(a.Host))
	binary.LittleEndian.PutUint64(b[8:], uint64(a.At))
	binary.LittleEndian.PutUint64(b[16:], a.Epoch)
	binary.LittleEndian.PutUint64(b[24:], a.Version)
	m.history.Write(b[:])
	m.history.WriteString(a.Config)
	m.effects++
	if key := m.key(&a); a.Epoch == m.newest[key] {
		m.have[key]++
	}
	if u := m.of(&a); u != nil && u.applied[a.Host] == never {
		u.applied[a.Host] = toMicros(time.Duration(a.At - u.began))
		u.missing--
	}
}

// coverage is the share of agents, over all configs, that have the newest epoch
// on disk, whether they are up or not.
func (m *meter) coverage() float64 {
	have, all := 0, 0
	for key := range m.newest {
		have += m.have[key]
		all += m.w.audienceOf(key.region)
	}
	if all == 0 {
		return 1
	}
	return float64(have) / float64(all)
}

// missed counts, at the end, the configs of agents that are up and do not run the
// newest epoch.
func (m *meter) missed() (n int) {
	for i := range m.w.agents() {
		h := &m.w.hosts[i]
		if h.down {
			continue
		}
		for _, key := range m.keysOf(h) {
			if d, ok := h.disk.applied[key.config]; !ok || d.announcement.Pointer.Epoch != m.newest[key] {
				n++
			}
		}
	}
	return n
}

// keysOf lists the pointers of a host's region.
func (m *meter) keysOf(h *host) (keys []ackKey) {
	for key := range m.newest {
		if key.region == h.ident.Region {
			keys = append(keys, key)
		}
	}
	return keys
}

// collect gathers what the updates that match measured: all of it, and by region.
func (m *meter) collect(matches func(*update) bool, of func(*update) []int32) (all []int32, byRegion [][]int32) {
	byRegion = make([][]int32, m.w.regions())
	for _, u := range m.updates {
		if !matches(u) {
			continue
		}
		times := of(u)
		for i := range m.w.agents() {
			if t := times[i]; t != never {
				all = append(all, t)
				r := m.w.hosts[i].region
				byRegion[r] = append(byRegion[r], t)
			}
		}
	}
	return all, byRegion
}

func publishes(u *update) bool     { return !u.rollback }
func rollbacks(u *update) bool     { return u.rollback }
func appliedOf(u *update) []int32  { return u.applied }
func verifiedOf(u *update) []int32 { return u.verified }
