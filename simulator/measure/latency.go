package measure

import (
	"slices"
	"time"
)

// Latency is the distribution of a set of durations, in milliseconds.
type Latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Point is one point of a cumulative distribution: a share of the hosts had the update
// within Ms milliseconds.
type Point struct {
	Ms    float64 `json:"ms"`
	Share float64 `json:"share"`
}

// cdfPoints is the number of points of a distribution.
const cdfPoints = 101

// Never marks a host that an update has not reached.
const Never = int32(-1)

// Blank returns n entries of Never.
func Blank(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = Never
	}
	return s
}

func ms(micros int32) float64 { return float64(micros) / 1000 }

// LatencyOf sorts durations in microseconds and summarizes them.
func LatencyOf(micros []int32) Latency {
	if len(micros) == 0 {
		return Latency{}
	}
	slices.Sort(micros)
	at := func(q float64) float64 { return ms(micros[rank(q, len(micros))]) }
	return Latency{Count: len(micros), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

// rank returns the index, in n sorted values, of the smallest value that is at least as
// large as a share q of the values. Example: rank(0.99, 200) is 197, the 198th value.
func rank(q float64, n int) int {
	return min(max(int(q*float64(n)+0.999999)-1, 0), n-1)
}

// CDFOf returns the distribution of sorted durations in microseconds. whole is the number of
// hosts; hosts without the update have no duration, so the distribution may end below 1.
func CDFOf(sorted []int32, whole int) []Point {
	if len(sorted) == 0 {
		return nil
	}
	points := make([]Point, 0, cdfPoints)
	for i := range cdfPoints {
		k := rank(float64(i)/(cdfPoints-1), len(sorted))
		points = append(points, Point{ms(sorted[k]), float64(k+1) / float64(whole)})
	}
	return points
}

// Micros returns d in whole microseconds, at most 35 minutes.
func Micros(d time.Duration) int32 { return int32(min(d.Microseconds(), 1<<31-1)) }
