package coordinator

import "testing"

func TestTruthTheNearestNameIsWhatWasMeant(t *testing.T) {
	names := []string{"edge/proxy", "payments/limits", "web/flags", "web/flags2", "web/new"}
	for name, want := range map[string]string{
		"web/flag":        "web/flags",
		"web/flasg":       "web/flags",
		"flags":           "web/flags",
		"payment/limit":   "payments/limits",
		"paymnets/limits": "payments/limits",
		"api/proxy":       "edge/proxy",
		"web/newer":       "web/new",
		"something/else":  "",
		"a":               "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
