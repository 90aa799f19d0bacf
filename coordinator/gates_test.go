package coordinator

import (
	"math"
	"testing"
)

var inf = math.Inf(1)

func TestSamplesOfPrometheus(t *testing.T) {
	for answer, want := range map[string][]float64{
		`{"status":"success","data":{"resultType":"scalar","result":[1,"0.5"]}}`:                                {0.5},
		`{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"+Inf"]}]}}`: {1, inf},
		`{"status":"success","data":{"resultType":"vector","result":[]}}`:                                       {},
	} {
		got, err := samples([]byte(answer))
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %v, %v", answer, got, err)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %v", answer, got)
			}
		}
	}
	for _, answer := range []string{"", "<html>", `{"status":"error","error":"parse error"}`, `{"status":"success","data":{"resultType":"matrix","result":[]}}`,
		`{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"x"]}]}}`, `{"status":"success","data":{"resultType":"scalar","result":[1]}}`} {
		if got, err := samples([]byte(answer)); err == nil {
			t.Errorf("%s: %v was taken", answer, got)
		}
	}
}

func FuzzSamples(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"scalar","result":[1,"0.5"]}}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"1"]}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if values, err := samples(raw); err != nil && len(values) > 0 {
			t.Fatal("values beside an error")
		}
	})
}
