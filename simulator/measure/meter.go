package measure

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/simulator/world"
)

// Meter follows the updates of a run: when each host had each update, and how many hosts
// have the newest epoch of every config.
type Meter struct {
	w       *world.World
	updates []*Update
	byEpoch map[epochKey]*Update
	// newest holds the epoch that was committed last.
	newest map[record.PointerKey]uint64
	// have counts the agents that have the newest epoch on disk.
	have map[record.PointerKey]int
	// history is a hash of every effect in order.
	history xxhash.Digest
	effects uint64
}

// epochKey names one epoch of a pointer.
type epochKey struct {
	pointer record.PointerKey
	epoch   uint64
}

// Update is one move of a config's pointers.
type Update struct {
	Change world.Change
	Began  step.Time
	// rollback is true if the change names an older version.
	rollback bool
	// Verified and Applied hold, by host, the µs from Began to the check of the pointer's
	// signature and to the durable apply; Never for a host that has not done so.
	Verified []int32
	Applied  []int32
	// Missing counts the subscribing agents that have not applied the update.
	Missing int
}

// NewMeter returns a meter that follows the updates of w from now on.
func NewMeter(w *world.World) *Meter {
	m := &Meter{
		w:       w,
		byEpoch: map[epochKey]*Update{},
		newest:  map[record.PointerKey]uint64{},
		have:    map[record.PointerKey]int{},
	}
	m.history.Reset()
	w.Watch(world.Watcher{Committed: m.committed, Verified: m.verified, Applied: m.applied})
	return m
}

// Move moves the pointers of a config and follows the update.
func (m *Meter) Move(c world.Change, rollback bool) *Update {
	u := &Update{
		Change:   c,
		Began:    m.w.Now(),
		rollback: rollback,
		Verified: Blank(m.w.Hosts()),
		Applied:  Blank(m.w.Hosts()),
	}
	m.updates = append(m.updates, u)
	m.w.Move(c)
	return u
}

func (m *Meter) committed(_ int32, a *wire.Announcement) {
	p := &a.Pointer
	key := record.PointerKey{Config: p.Config, Region: p.Region}
	m.newest[key], m.have[key] = p.Epoch, 0
	for _, u := range slices.Backward(m.updates) {
		if u.Change.Config == p.Config && int64(u.Began)/1000 == p.TimeMicros {
			m.byEpoch[epochKey{key, p.Epoch}] = u
			u.Missing += m.w.Audience(p.Region)
			return
		}
	}
}

func (m *Meter) of(a *world.Applied) *Update {
	return m.byEpoch[epochKey{m.key(a), a.Epoch}]
}

func (m *Meter) key(a *world.Applied) record.PointerKey {
	return record.PointerKey{Config: a.Config, Region: m.w.Host(a.Host).Region()}
}

func (m *Meter) verified(a world.Applied) {
	if u := m.of(&a); u != nil && !m.w.IsCoordinator(a.Host) {
		u.Verified[a.Host] = Micros(time.Duration(a.At - u.Began))
	}
}

func (m *Meter) applied(a world.Applied) {
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
	if u := m.of(&a); u != nil && u.Applied[a.Host] == Never {
		u.Applied[a.Host] = Micros(time.Duration(a.At - u.Began))
		u.Missing--
	}
}

// History returns a hash of every effect in order. Two runs with equal hashes had the
// same effects at the same times.
func (m *Meter) History() string { return fmt.Sprintf("%016x", m.history.Sum64()) }

// Effects returns how many effects there were.
func (m *Meter) Effects() uint64 { return m.effects }

// Coverage returns the share of agents, over all configs, that have the newest epoch on
// disk. Agents that are down count too.
func (m *Meter) Coverage() float64 {
	have, all := 0, 0
	for key := range m.newest {
		have += m.have[key]
		all += m.w.Audience(key.Region)
	}
	if all == 0 {
		return 1
	}
	return float64(have) / float64(all)
}

// missed counts the pairs of a config and a live agent in which the agent does not have the
// newest epoch of the config.
func (m *Meter) missed() (n int) {
	for i := range m.w.Agents() {
		h := m.w.Host(i)
		if h.Down() {
			continue
		}
		for _, key := range m.keysOf(h) {
			if epoch, ok := h.AppliedEpoch(key.Config); !ok || epoch != m.newest[key] {
				n++
			}
		}
	}
	return n
}

// keysOf returns the pointers of a host's region, in no order.
func (m *Meter) keysOf(h *world.Host) (keys []record.PointerKey) {
	for key := range m.newest {
		if key.Region == h.Region() {
			keys = append(keys, key)
		}
	}
	return keys
}

// collect gathers the latencies of the updates that match: all of them, and by region. of
// returns the latencies of one update.
func (m *Meter) collect(matches func(*Update) bool, of func(*Update) []int32) (all []int32, byRegion [][]int32) {
	byRegion = make([][]int32, m.w.Regions())
	for _, u := range m.updates {
		if !matches(u) {
			continue
		}
		times := of(u)
		for i := range m.w.Agents() {
			if t := times[i]; t != Never {
				all = append(all, t)
				r := m.w.Host(i).RegionIndex()
				byRegion[r] = append(byRegion[r], t)
			}
		}
	}
	return all, byRegion
}

func publishes(u *Update) bool     { return !u.rollback }
func rollbacks(u *Update) bool     { return u.rollback }
func appliedOf(u *Update) []int32  { return u.Applied }
func verifiedOf(u *Update) []int32 { return u.Verified }
