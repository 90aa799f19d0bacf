package scale

import "testing"

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
