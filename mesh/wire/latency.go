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
	sketchBins     = 2048 // covers 1 µs to more than an hour, and limits the memory of a decoded sketch
	maxLatency     = int64(1) << 40
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
	case other.count == 0:
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
		l.sketch.Encode(&b, true)
	}
	return b
}

// decodeLatencies decodes the encoding of append.
func decodeLatencies(b []byte) (Latencies, error) {
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return Latencies{}, fmt.Errorf("%w: latencies", ErrMalformed)
		}
		fields[i], b = v, b[n:]
		if i == 0 && v == 0 {
			return Latencies{}, nil
		}
	}
	l := Latencies{count: fields[0], min: int64(fields[1]), max: int64(fields[2])}
	if fields[1] > fields[2] || fields[2] > uint64(maxLatency) || l.count > 1<<40 {
		return Latencies{}, fmt.Errorf("%w: latencies out of range", ErrMalformed)
	}
	if l.count == 1 {
		return l, nil
	}
	l.sketch = newSketch()
	if err := decodeSketch(l.sketch, b); err != nil {
		return Latencies{}, fmt.Errorf("%w: latencies: %s", ErrMalformed, err)
	}
	return l, nil
}

// decodeSketch decodes a sketch. It returns an error where the decoder of the library panics.
func decodeSketch(s *ddsketch.DDSketch, b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return s.DecodeAndMergeWith(b)
}
