package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"banyan/internal/episode"
	"banyan/mesh/wire"
)

// keeper makes the pointers durable of the configs that this host passes on and does not subscribe to.
// Nothing needs them before the next start, which continues after them. So they are written together:
//
//	keep ──► waiting, the newest of each config ──► every keepEvery: some commits
//
// What a crash loses is sent again: the watermark on disk stays below the first pointer that waits.
type keeper struct {
	state *state
	log   *slog.Logger

	wake    chan struct{} // capacity 1
	failing episode.Set[struct{}]

	mu        sync.Mutex
	waiting   kept   // guarded by mu
	writing   kept   // guarded by mu
	watermark uint64 // of the node, when the newest pointer came; guarded by mu
}

// kept are pointers that are not durable yet.
type kept struct {
	newest map[string]*wire.Announcement // by config; nil for none. There are at most mesh.MaxConfigs configs
	first  uint64                        // every pointer before this revision is elsewhere; 0 for no pointer
}

func (k *kept) add(a *wire.Announcement) {
	if k.newest == nil {
		k.newest = map[string]*wire.Announcement{}
		k.first = a.Revision
	}
	k.newest[a.Pointer.Config] = a
	k.first = min(k.first, a.Revision)
}

func newKeeper(s *state, log *slog.Logger) *keeper {
	return &keeper{state: s, log: log, wake: make(chan struct{}, 1)}
}

// keep has a pointer written. watermark is the node's.
func (k *keeper) keep(a *wire.Announcement, watermark uint64) {
	k.mu.Lock()
	k.waiting.add(a)
	k.watermark = watermark
	k.mu.Unlock()
	k.signal()
}

func (k *keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// durable returns the revision up to which every pointer is on disk, if the node has applied those
// up to watermark.
func (k *keeper) durable(watermark uint64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, of := range []*kept{&k.waiting, &k.writing} {
		if of.first > 0 {
			watermark = min(watermark, of.first-1)
		}
	}
	return watermark
}

// run writes what waits until ctx ends, and once more then.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-k.wake:
		case <-ctx.Done():
			k.write()
			return
		}
		timer := time.NewTimer(keepEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		k.write()
	}
}

// write writes what waits. After an error it waits on.
func (k *keeper) write() {
	k.mu.Lock()
	k.writing = k.waiting
	k.waiting = kept{}
	rows := k.writing.rows()
	watermark := k.watermark
	k.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	err := k.state.keep(rows, watermark)
	if err == nil {
		k.failing.End(struct{}{})
	} else {
		level := k.failing.Level(struct{}{}, slog.LevelError)
		k.log.Log(context.Background(), level, "pointers of other configs are not written yet; "+
			"after a restart they are fetched again", "pointers", len(rows), "error", err)
		k.signal()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.writing.addAll(k.waiting)
		k.waiting = k.writing
	}
	k.writing = kept{}
}

func (k *kept) addAll(later kept) {
	for _, a := range later.newest {
		k.add(a)
	}
}

// rows returns the rows of the pointers.
func (k *kept) rows() []committed {
	now := time.Now().UnixMicro()
	rows := make([]committed, 0, len(k.newest))
	for _, a := range k.newest {
		rows = append(rows, committed{Raw: a.Raw, Revision: a.Revision, AtMicros: now, pointer: a.Pointer})
	}
	return rows
}
