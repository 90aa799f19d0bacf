package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banyan/mesh"
	"banyan/record"
	"banyan/versionstore"
)

// Limits are the numbers of pointers that nodes track. The ledger stores no pointer that a node would
// not take.
type Limits struct {
	// Configs is the number of configs of a region; 0 means mesh.MaxConfigs.
	Configs int
	// Pointers is the number of pointers of all regions; 0 means mesh.MaxPointers.
	Pointers int
	// DeletionMemory is the time for which nodes track a config that was deleted; 0 means
	// record.DeletionMemory.
	DeletionMemory time.Duration
}

func (l *Limits) setDefaults() {
	if l.Configs == 0 {
		l.Configs = mesh.MaxConfigs
	}
	if l.Pointers == 0 {
		l.Pointers = mesh.MaxPointers
	}
	if l.DeletionMemory == 0 {
		l.DeletionMemory = record.DeletionMemory
	}
}

// FullError means that there are too many configs for another one. Nothing was stored.
type FullError struct {
	// Region is the region that has too many configs; "" if all regions together have.
	Region string
	Limit  int
}

func (e *FullError) Error() string {
	if e.Region == "" {
		return fmt.Sprintf("nothing was stored: %d pairs of a config and a region run, which is the limit", e.Limit)
	}
	return fmt.Sprintf("nothing was stored: region %s has %d configs, which is the limit", e.Region, e.Limit)
}

// census counts the pointers in the store that nodes track.
type census struct {
	regions map[string]int // nil if the pointers were not counted yet
	all     int
	at      time.Time // of the count
}

// add counts a pointer that was stored, unless the pointers are still to be counted.
func (c *census) add(region string) {
	if c.regions != nil {
		c.regions[region]++
		c.all++
	}
}

// CheckRoom returns a *FullError if config, in those of regions in which it does not run yet, would
// exceed a limit; spare further configs must have room in every region as well. The caller must be in
// an update.
func (l *Ledger) CheckRoom(ctx context.Context, config string, regions []string, spare int) error {
	var fresh []string
	for _, region := range regions {
		tracked, err := l.tracked(ctx, record.PointerKey{Config: config, Region: region})
		if err != nil {
			return err
		}
		if !tracked {
			fresh = append(fresh, region)
		}
	}
	return l.makeRoom(ctx, fresh, spare)
}

// roomFor returns the regions of the moves whose pointers nodes do not track yet, or a *FullError if a
// limit does not allow them. Deletions need no room: a new term issues all of them anew, and a node
// that has no room for a deletion lacks nothing.
func (l *Ledger) roomFor(ctx context.Context, moves []record.Pointer) (fresh []string, err error) {
	var live []string
	for _, p := range moves {
		tracked, err := l.tracked(ctx, p.Key())
		if err != nil {
			return nil, err
		}
		if tracked {
			continue
		}
		fresh = append(fresh, p.Region)
		if !p.Deleted() {
			live = append(live, p.Region)
		}
	}
	return fresh, l.makeRoom(ctx, live, 0)
}

// tracked reports whether nodes track the stored pointer of key.
func (l *Ledger) tracked(ctx context.Context, key record.PointerKey) (bool, error) {
	s, err := l.Pointer(ctx, key.Config, key.Region)
	if errors.Is(err, versionstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !l.Forgotten(&s.Pointer), nil
}

// Forgotten reports whether a pointer is of a config that was deleted so long ago that nodes do not
// track it.
func (l *Ledger) Forgotten(p *record.Pointer) bool {
	return p.Deleted() && time.Since(time.UnixMicro(p.TimeMicros)) > l.limits.DeletionMemory
}

// makeRoom returns a *FullError if one more config in each of the regions in fresh, and spare ones in
// every region, would exceed a limit. Deletions are forgotten without a word, so the pointers are
// counted again before a write is refused, but not more often than recountEvery.
func (l *Ledger) makeRoom(ctx context.Context, fresh []string, spare int) error {
	if len(fresh) == 0 {
		return nil
	}
	if l.pointers.regions == nil {
		if err := l.recount(ctx); err != nil {
			return err
		}
	}
	full := l.full(fresh, spare)
	if full == nil {
		return nil
	}
	if time.Since(l.pointers.at) >= recountEvery {
		if err := l.recount(ctx); err != nil {
			return err
		}
		full = l.full(fresh, spare)
	}
	if full != nil {
		return full
	}
	return nil
}

func (l *Ledger) full(fresh []string, spare int) *FullError {
	more := map[string]int{}
	for _, region := range fresh {
		more[region]++
		if l.pointers.regions[region]+more[region]+spare > l.limits.Configs {
			return &FullError{Region: region, Limit: l.limits.Configs}
		}
	}
	if l.pointers.all+len(fresh)+spare*len(l.keys) > l.limits.Pointers {
		return &FullError{Limit: l.limits.Pointers}
	}
	return nil
}

// recount counts the pointers in the store. Damaged ones count for no region.
func (l *Ledger) recount(ctx context.Context) error {
	count := census{regions: map[string]int{}, at: time.Now()}
	for region := range l.keys {
		states, err := versionstore.AllPointers(ctx, l, region)
		if err != nil && !errors.Is(err, versionstore.ErrCorrupt) {
			return fmt.Errorf("count the configs: %w", err)
		}
		for i := range states {
			if !l.Forgotten(&states[i].Pointer) {
				count.add(region)
			}
		}
	}
	l.pointers = count
	return nil
}
