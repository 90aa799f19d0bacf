package scale

import (
	"testing"
	"time"
)

// Each scale of the table is taken whole: nothing is refused, cut or asked for twice. Times are not
// compared; the benchmarks print them.
func TestScalesAreTakenWhole(t *testing.T) {
	if r, err := Silence(1000, 2000); err != nil || r.Silent != 512 || r.Longest == r.Total {
		t.Errorf("silent agents: %+v, %v", r, err)
	}
	if r, err := CatchUp(1600); err != nil || r.Asked != 1600 || r.Flying > 64 {
		t.Errorf("catch-up: %+v, %v", r, err)
	}
	if r := Leader(10, 1000); r.Refused != 0 {
		t.Errorf("leader: %+v", r)
	}
	if r, err := Restart(t.Context(), t.TempDir(), 12_000); err != nil || r.Found != r.Stored {
		t.Errorf("restart: %+v, %v", r, err)
	}
	for _, batches := range []bool{false, true} { // fails unless every agent verifies every pointer
		if r, err := Updates(t.Context(), t.TempDir(), 300, batches); err != nil || r.Updates != 300 {
			t.Errorf("updates: %+v, %v", r, err)
		}
	}
	if r, err := Names(140_000); err != nil || r.Known >= 131_072 {
		t.Errorf("names: %+v, %v", r, err)
	}
}

func TestDurationsAndNumbersAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{1234567: "1.23ms", 12345678901: "12.3s", 7: "7ns"} {
		if got := short(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int]string{7: "7", 131072: "131,072", 1000000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func BenchmarkCatchUp(b *testing.B) {
	for b.Loop() {
		r, err := CatchUp(16000)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r.CPU.Seconds(), "cpu-s")
		b.ReportMetric(float64(r.Asked), "asked")
		b.ReportMetric(float64(r.Flying), "flying")
	}
}

func BenchmarkSilence(b *testing.B) {
	for b.Loop() {
		r, err := Silence(10000, 10000)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r.Longest.Seconds(), "longest-s")
		b.ReportMetric(r.Total.Seconds(), "total-s")
		b.ReportMetric(float64(r.Silent), "silent")
	}
}

func BenchmarkCensus(b *testing.B) {
	for b.Loop() {
		r, err := Census(100000, 256)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r.First.Seconds(), "first-s")
		b.ReportMetric(r.Next.Seconds(), "next-s")
	}
}

func BenchmarkLeader(b *testing.B) {
	for b.Loop() {
		r := Leader(100, 1000)
		b.ReportMetric(float64(r.Refused), "refused")
		b.ReportMetric(float64(r.Bytes)/float64(r.Regions*r.Configs-r.Refused), "B/pointer")
		b.ReportMetric(float64(r.PerPointer.Microseconds()), "µs/pointer")
	}
}
