package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// Latencies is a mergeable summary of durations. Every quantile has a relative error of at
// most 1%; minimum and maximum are exact. The zero value is empty. A summary of a single
// sample, which is the usual case, has no sketch.
//
// Source: DDSketch (Masson, Rim, Lee, VLDB 2019) by DataDog/sketches-go.
type Latencies struct {
	count    uint64
	min, max int64 // microseconds
	sketch   *ddsketch.DDSketch
}

const (
	sketchAccuracy = 0.01
	sketchBins     = 2048 // more than the bins from 1 µs to maxLatency, so none are ever joined
	maxLatency     = int64(1) << 40
	maxSamples     = uint64(1) << 40
)

var sketchMapping = must(mapping.NewLogarithmicMapping(sketchAccuracy))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newSketch() *ddsketch.DDSketch {
	positive := store.NewCollapsingLowestDenseStore(sketchBins)
	negative := store.NewCollapsingLowestDenseStore(1)
	return ddsketch.NewDDSketch(sketchMapping, positive, negative)
}

// Add adds a duration in microseconds. A negative duration, from hosts with different clocks,
// counts as zero.
func (l *Latencies) Add(micros int64) {
	micros = min(max(micros, 0), maxLatency)
	if l.count == 1 {
		l.materialize()
	}
	if l.count == 0 {
		*l = Latencies{count: 1, min: micros, max: micros}
		return
	}
	l.insert(micros, 1)
	l.count++
	l.min, l.max = min(l.min, micros), max(l.max, micros)
}

func (l *Latencies) insert(micros int64, n float64) {
	// AddWithCount fails only for values outside the mapping and for counts below zero.
	_ = l.sketch.AddWithCount(float64(max(micros, 1)), n)
}

// materialize creates the sketch of a single sample.
func (l *Latencies) materialize() {
	if l.sketch == nil {
		l.sketch = newSketch()
		l.insert(l.min, float64(l.count))
	}
}

// Merge adds the durations of other, which does not change.
func (l *Latencies) Merge(other *Latencies) {
	switch {
	case other.count == 0 || other.count > maxSamples-l.count: // a peer made up a count beyond that
	case other.count == 1:
		l.Add(other.min)
	default:
		if l.count == 0 {
			l.sketch = newSketch()
			l.min, l.max = other.min, other.max
		}
		l.materialize()
		_ = l.sketch.MergeWith(other.sketch) // fails only for unequal mappings
		l.count += other.count
		l.min, l.max = min(l.min, other.min), max(l.max, other.max)
	}
}

// Count returns the number of durations.
func (l *Latencies) Count() uint64 { return l.count }

// Quantile returns the q-quantile (0 ≤ q ≤ 1) in microseconds; 0 without samples.
func (l *Latencies) Quantile(q float64) int64 {
	switch {
	case l.count == 0:
		return 0
	case q >= 1:
		return l.max
	case q <= 0 || l.sketch == nil:
		return l.min
	}
	v, err := l.sketch.GetValueAtQuantile(q)
	if err != nil {
		return l.max
	}
	return min(max(int64(math.Round(v)), l.min), l.max)
}

// append appends the encoding of l: count, minimum and maximum as varints, then the sketch if
// there is more than one sample.
func (l *Latencies) append(b []byte) []byte {
	b = binary.AppendUvarint(b, l.count)
	if l.count == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(l.min))
	b = binary.AppendUvarint(b, uint64(l.max))
	if l.count > 1 {
		b = appendSketch(b, l.sketch)
	}
	return b
}

// appendSketch appends the bins of a sketch that have samples, the lowest first. A bin is two varints: the
// distance to the bin before, and the number of samples. The distance of the lowest bin is 0: the minimum
// says which bin that is.
func appendSketch(b []byte, s *ddsketch.DDSketch) []byte {
	before := 0
	first := true
	s.GetPositiveValueStore().ForEach(func(index int, count float64) (stop bool) {
		if first {
			before = index
			first = false
		}
		b = binary.AppendUvarint(b, uint64(index-before))
		b = binary.AppendUvarint(b, uint64(count))
		before = index
		return false
	})
	return b
}

// decodeLatencies decodes the encoding of append. It refuses numbers that no Latencies has: the sketch's
// library panics on some of them.
func decodeLatencies(b []byte) (Latencies, error) {
	r := varints{b: b}
	l := Latencies{count: r.next(maxSamples)}
	if l.count == 0 {
		return l, r.end()
	}
	l.min = int64(r.next(uint64(maxLatency)))
	l.max = int64(r.next(uint64(maxLatency)))
	if l.min > l.max || l.count == 1 && l.min != l.max {
		r.fail()
	}
	if l.count > 1 && !r.failed {
		l.sketch = r.sketch(l.count, l.min, l.max)
	}
	return l, r.end()
}

// sketch reads a sketch whose lowest sample is low and whose highest sample is high, see appendSketch.
func (r *varints) sketch(samples uint64, low, high int64) *ddsketch.DDSketch {
	s := newSketch()
	index := bin(low)
	for first := true; samples > 0; first = false {
		step := r.next(uint64(bin(high) - index))
		count := r.next(samples)
		sameBin := step == 0
		if r.failed || count == 0 || sameBin != first { // only the lowest bin is where index is already
			r.fail()
			return nil
		}
		index += int(step)
		s.GetPositiveValueStore().AddWithCount(index, float64(count))
		samples -= count
	}
	if index != bin(high) {
		r.fail()
	}
	return s
}

// bin returns the index of the bin of a duration in microseconds.
func bin(micros int64) int { return sketchMapping.Index(float64(max(micros, 1))) }

// varints reads unsigned varints. After the first that is malformed or too large, all are 0.
type varints struct {
	b      []byte
	failed bool
}

func (r *varints) fail() { r.failed = true }

// next reads a number that is at most limit.
func (r *varints) next(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if r.failed || n <= 0 || v > limit {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// end returns an error if a number was malformed, or if bytes are left.
func (r *varints) end() error {
	if r.failed || len(r.b) > 0 {
		return fmt.Errorf("%w: latencies", ErrMalformed)
	}
	return nil
}
