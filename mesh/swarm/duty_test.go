package swarm

import (
	"fmt"
	"testing"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

func locations(n int) []wire.Location {
	all := make([]wire.Location, n)
	for i := range all {
		all[i] = wire.Location{Name: fmt.Sprintf("host-%04d", i), Addr: fmt.Sprintf("host-%04d:1", i)}
	}
	return all
}

func TestDutiesAreSharedOutEvenly(t *testing.T) {
	const shards = 1024
	for _, size := range []int{1, 2, 5, 16, 17, 24} {
		counts := make([]int, size)
		for ordinal := range shards {
			counts[duty(ordinal, size)]++
		}
		for member, n := range counts {
			if fair := shards / size; n < fair-fair/8-1 || n > fair+fair/8+2 {
				t.Errorf("member %d of %d has %d of %d shards", member, size, n, shards)
			}
		}
	}
}

func TestMembersOfCirclesOfDifferentSizesShareDutiesWithFew(t *testing.T) {
	feeders := map[[2]int]bool{}
	for ordinal := range 1024 {
		feeders[[2]int{duty(ordinal, 23), duty(ordinal, 24)}] = true
	}
	if n := len(feeders); n > 2*24 {
		t.Errorf("23 members are fed over %d links", n)
	}
}

func TestEveryCandidateComesOnce(t *testing.T) {
	for _, size := range []int{1, 2, 7, 24} {
		among := locations(size)
		for ordinal := range 100 {
			seen := map[string]bool{}
			for i := range size {
				seen[candidate(among, ordinal, i).Name] = true
			}
			if len(seen) != size {
				t.Fatalf("shard %d may be asked of %d of %d members", ordinal, len(seen), size)
			}
		}
	}
}

func TestWidthClimbsOnlyWhereThatHelps(t *testing.T) {
	shardsLeave := func(each func(limit int) time.Duration) int {
		var w width
		now := step.Time(1)
		for range 5000 {
			now = now.Add(each(w.get()) / time.Duration(w.get()))
			w.left(now)
		}
		return w.get()
	}
	if got := shardsLeave(func(limit int) time.Duration { return time.Duration(limit) * time.Millisecond }); got > 2*minWidth {
		t.Errorf("where the link is the limit, %d shards leave at once", got)
	}
	if got := shardsLeave(func(int) time.Duration { return 100 * time.Millisecond }); got < maxWidth/2 {
		t.Errorf("where the peers are the limit, %d shards leave at once", got)
	}
}
