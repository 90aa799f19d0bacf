package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// The sketch against its dumb twin: a sorted list.
func TestLatenciesAreWithinOnePercentHoweverTheyAreMerged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(1, 1<<32), 1, 300).Draw(t, "values")
		parts := make([]Latencies, rapid.IntRange(1, 8).Draw(t, "parts"))
		for i, v := range values {
			parts[i%len(parts)].Add(v)
		}
		var total Latencies
		for i := range parts {
			decoded, err := decodeLatencies(parts[i].append(nil))
			if err != nil {
				t.Fatal(err)
			}
			total.Merge(&decoded)
		}
		if total.Count() != uint64(len(values)) {
			t.Fatalf("counted %d of %d", total.Count(), len(values))
		}
		sorted := append([]int64(nil), values...)
		for i := range sorted {
			for j := i; j > 0 && sorted[j] < sorted[j-1]; j-- {
				sorted[j], sorted[j-1] = sorted[j-1], sorted[j]
			}
		}
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			want := float64(sorted[int(q*float64(len(sorted)-1))])
			if got := float64(total.Quantile(q)); got < want*0.985-1 || got > want*1.015+1 {
				t.Errorf("quantile %v is %v, want %v", q, got, want)
			}
		}
	})
}

// A peer can send any bytes. What does not come from Latencies must not reach the sketch's library, which
// panics on some of it when it merges.
func TestLatenciesThatNobodyEncodesAreRefused(t *testing.T) {
	low, high := uint64(1000), uint64(2000)
	width := uint64(bin(int64(high)) - bin(int64(low)))
	for name, numbers := range map[string][]uint64{
		"nothing":                      {},
		"cut":                          {2, low},
		"too many samples":             {maxSamples + 1, low, high},
		"a minimum above the maximum":  {2, high, low},
		"a long latency":               {1, uint64(maxLatency) + 1, uint64(maxLatency) + 1},
		"one sample with two values":   {1, low, high},
		"two samples without a sketch": {2, low, high},
		"a bin without samples":        {2, low, high, 0, 0, width, 2},
		"more samples than counted":    {2, low, high, 0, 1, width, 2},
		"fewer samples than counted":   {3, low, high, 0, 1, width, 1},
		"a first bin above the lowest": {2, low, high, 1, 1, width - 1, 1},
		"a last bin below the highest": {2, low, high, 0, 1, width - 1, 1},
		"a bin above the highest":      {2, low, high, 0, 1, width + 1, 1},
		"one bin twice":                {3, low, high, 0, 1, 0, 1, width, 1},
		"further bytes":                {2, low, high, 0, 1, width, 1, 0},
		"bytes after no samples":       {0, 0},
	} {
		var b []byte
		for _, n := range numbers {
			b = binary.AppendUvarint(b, n)
		}
		if _, err := decodeLatencies(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := binary.AppendUvarint(nil, 2)
	for _, n := range []uint64{low, high, 0, 1, width, 1} {
		good = binary.AppendUvarint(good, n)
	}
	l, err := decodeLatencies(good)
	if err != nil || !bytes.Equal(l.append(nil), good) {
		t.Errorf("%v: encodes as %x, want %x", err, l.append(nil), good)
	}
}

func TestLatenciesDoNotOverflow(t *testing.T) {
	var l Latencies
	l.Add(7)
	l.Add(7)
	many := l
	many.count = maxSamples
	l.Merge(&many)
	if l.Count() != 2 {
		t.Errorf("%d samples", l.Count())
	}
}

func FuzzDecodeLatencies(f *testing.F) {
	var l Latencies
	for _, micros := range []int64{0, 1, 3, 1000, 1_000_000, maxLatency} {
		l.Add(micros)
		f.Add(l.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLatencies(b)
		if err != nil {
			return
		}
		if got := l.append(nil); !bytes.Equal(got, b) && l.Count() > 0 {
			var canonical Latencies
			if canonical, err = decodeLatencies(got); err != nil || canonical.Count() != l.Count() {
				t.Errorf("%x encodes as %x: %v", b, got, err)
			}
		}
		var total Latencies
		total.Add(5)
		total.Merge(&l)
		total.Merge(&l)
		if q := total.Quantile(0.5); q < 0 || q > maxLatency {
			t.Errorf("median %d", q)
		}
	})
}
