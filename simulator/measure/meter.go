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

// Meter follows the updates of a run: when each host had each, and how many hosts
// have the newest of every config.
type Meter struct {
	w       *world.World
	updates []*Update
	byEpoch map[epochKey]*Update
	newest  map[record.PointerKey]uint64 // epoch committed last
	have    map[record.PointerKey]int    // agents that have it on disk
	history xxhash.Digest                // of every effect, in order
	effects uint64
}

type epochKey struct {
	pointer record.PointerKey
	epoch   uint64
}

// Update is one move of a config's pointers, and when each host had it.
type Update struct {
	Change   world.Change
	Began    step.Time
	rollback bool    // it names an older version
	Verified []int32 // by host, µs since began; Never
	Applied  []int32
	Missing  int // agents that have not applied it
}

func NewMeter(w *world.World) *Meter {
	m := &Meter{w: w, byEpoch: map[epochKey]*Update{}, newest: map[record.PointerKey]uint64{}, have: map[record.PointerKey]int{}}
	m.history.Reset()
	w.Watch(world.Watcher{Committed: m.committed, Verified: m.verified, Applied: m.applied})
	return m
}

// Move moves a config's pointers and follows what comes of it.
func (m *Meter) Move(c world.Change, rollback bool) *Update {
	u := &Update{Change: c, Began: m.w.Now(), rollback: rollback, Verified: Blank(m.w.Hosts()), Applied: Blank(m.w.Hosts())}
	m.updates = append(m.updates, u)
	m.w.Move(c)
	return u
}

func (m *Meter) committed(a *wire.Announcement) {
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

// Coverage is the share of agents, over all configs, that have the newest epoch
// on disk, whether they are up or not.
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

// missed counts, at the end, the configs of agents that are up and do not run the
// newest epoch.
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

// keysOf lists the pointers of a host's region.
func (m *Meter) keysOf(h *world.Host) (keys []record.PointerKey) {
	for key := range m.newest {
		if key.Region == h.Region() {
			keys = append(keys, key)
		}
	}
	return keys
}

// collect gathers what the updates that match measured: all of it, and by region.
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
