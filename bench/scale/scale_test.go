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
