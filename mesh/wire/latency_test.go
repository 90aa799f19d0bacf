package wire

import (
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
