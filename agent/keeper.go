package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"banyan/internal/episode"
	"banyan/mesh/wire"
)

// keeper writes the pointers of configs that this host does not subscribe to. They are needed at the next
// start only, which then asks for later pointers. So they are written together:
//
//	keep ──► waiting: the newest pointer of each config ──► write, every keepEvery: a few commits
//
// Pointers that a crash loses are sent again, because the watermark on disk stays below the first pointer
// that is not written.
type keeper struct {
	state *state
	log   *slog.Logger

	wake    chan struct{} // capacity 1
	failing episode.Set[struct{}]

	mu        sync.Mutex
	waiting   kept   // guarded by mu
	writing   kept   // guarded by mu
	watermark uint64 // the node's watermark when the newest pointer came; guarded by mu
}

// kept holds pointers that are not durable yet.
type kept struct {
	// newest has the newest pointer of each config, of which there are at most mesh.MaxConfigs.
	newest map[string]*wire.Announcement
	// first is the lowest revision of a pointer that was added; 0 if newest is empty.
	first uint64
}

// add adds a pointer that is newer than those of its config before.
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

// keep has a pointer written later. watermark is the node's watermark, which includes the pointer.
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

// durable returns the revision up to which every pointer is on disk, given the node's watermark: the
// revision up to which the node has applied every pointer.
func (k *keeper) durable(watermark uint64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, pending := range []*kept{&k.waiting, &k.writing} {
		if pending.first > 0 {
			watermark = min(watermark, pending.first-1)
		}
	}
	return watermark
}

// run writes the pointers that wait, every keepEvery until ctx ends, and once more at the end.
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

// write writes the pointers that wait. After an error they wait again.
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

// addAll adds pointers that came later.
func (k *kept) addAll(later kept) {
	for _, a := range later.newest {
		k.add(a)
	}
}

// rows returns the pointers as rows of the state.
func (k *kept) rows() []committed {
	now := time.Now().UnixMicro()
	rows := make([]committed, 0, len(k.newest))
	for _, a := range k.newest {
		rows = append(rows, committed{Raw: a.Raw, Revision: a.Revision, AtMicros: now, pointer: a.Pointer})
	}
	return rows
}
