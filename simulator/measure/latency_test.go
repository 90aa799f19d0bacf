package measure

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A quantile against a dumb twin: the smallest value that at least a share q of the values do
// not exceed.
func TestQuantilesAreThoseOfADumbCount(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		values := make([]int32, 1+r.IntN(300))
		for i := range values {
			values[i] = int32(r.IntN(100)) * 1000
		}
		dumb := func(q float64) float64 {
			sorted := slices.Sorted(slices.Values(values))
			for _, v := range sorted {
				n := 0
				for _, other := range sorted {
					if other <= v {
						n++
					}
				}
				if float64(n) >= q*float64(len(sorted))-1e-6 {
					return float64(v) / 1000
				}
			}
			return 0
		}
		want := Latency{
			Count: len(values),
			P50:   dumb(0.5),
			P90:   dumb(0.9),
			P99:   dumb(0.99),
			P999:  dumb(0.999),
			Max:   dumb(1),
		}
		if got := LatencyOf(slices.Clone(values)); got != want {
			t.Fatalf("%d values: got %+v, want %+v", len(values), got, want)
		}
	}
	if got := LatencyOf(nil); got != (Latency{}) {
		t.Errorf("no values: got %+v", got)
	}
}

// Four of five hosts have the update: the distribution ends at 80%.
func TestADistributionEndsAtTheShareOfHostsThatHaveTheUpdate(t *testing.T) {
	points := CDFOf([]int32{1000, 2000, 3000, 4000}, 5)
	first, last := points[0], points[len(points)-1]
	if first != (Point{Ms: 1, Share: 0.2}) || last != (Point{Ms: 4, Share: 0.8}) {
		t.Errorf("from %+v to %+v", first, last)
	}
	if !slices.IsSortedFunc(points, func(a, b Point) int { return int(1000 * (a.Share - b.Share)) }) {
		t.Error("the distribution falls")
	}
}

func TestMicrosecondsAreCutAndBounded(t *testing.T) {
	for d, want := range map[time.Duration]int32{
		0:                      0,
		1999 * time.Nanosecond: 1,
		time.Second:            1_000_000,
		24 * time.Hour:         1<<31 - 1,
	} {
		if got := Micros(d); got != want {
			t.Errorf("%s: got %d, want %d", d, got, want)
		}
	}
}
