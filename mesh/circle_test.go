package mesh

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
	for _, size := range []int{1, 2, 5, 16, 17, circleSize} {
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
	for _, size := range []int{1, 2, 7, circleSize} {
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

func TestCirclesAreFedAsATreeAndNoneFeedsMany(t *testing.T) {
	for _, n := range []int{1, circleSize, circleSize + 1, 100, 1000} {
		root := []wire.Location{{Name: "coordinator"}}
		circles := arrange(locations(n), root)
		byMember, fed, members := map[string]*wire.Circle{}, map[*wire.Circle]int{}, 0
		for _, c := range circles {
			members += len(c.Members)
			if len(c.Members) > circleSize || len(c.Members) < min(n, circleSize/2) {
				t.Errorf("%d agents: a circle of %d", n, len(c.Members))
			}
			for _, m := range c.Members {
				byMember[m.Name] = c
			}
		}
		for _, c := range circles {
			hops, at := 0, c
			for ; at.Feeders[0].Name != "coordinator"; at = byMember[at.Feeders[0].Name] {
				if hops++; hops > len(circles) {
					t.Fatalf("%d agents: circles feed each other in a ring", n)
				}
			}
			if feeder := byMember[c.Feeders[0].Name]; feeder != nil {
				fed[feeder]++
			}
		}
		idle := 0
		for _, c := range circles {
			if fed[c] != int(c.Feeds) || fed[c] > 2 {
				t.Errorf("%d agents: a circle feeds %d, and says %d", n, fed[c], c.Feeds)
			}
			idle += one(c.Feeds == 0)
		}
		if members != n || idle < len(circles)/2 {
			t.Errorf("%d agents: %d in circles; %d of %d circles feed none", n, members, idle, len(circles))
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
