package ledger_test

import (
	"log/slog"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"banyan/coordinator/ledger"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// A leader at work: each commit moves one pointer, or the pointers of many regions.
func BenchmarkCommit(b *testing.B) {
	for name, regions := range map[string]int{"1-pointer": 1, "100-pointers": 100} {
		b.Run(name, func(b *testing.B) {
			store, err := versionstore.OpenBadger(b.TempDir(), embeddb.Options{Mark: true})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			m, raw, _ := storetest.NewSigner().Manifest(b, "a", 1)
			stored := versionstore.Transaction{Term: 1, Versions: []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "dev"}}}
			if _, err := store.Commit(b.Context(), stored); err != nil {
				b.Fatal(err)
			}
			keys := map[string]record.Key{}
			moves := make([]record.Pointer, regions)
			for i := range moves {
				region := "r" + string(rune('a'+i/26)) + string(rune('a'+i%26))
				keys[region] = record.KeyFromSeed([32]byte{byte(i)})
				moves[i] = record.Pointer{Config: "a", Region: region, Baseline: m.Ref(), Phase: record.PhaseActive}
			}
			l, err := ledger.New(b.Context(), ledger.Config{Store: store, Keys: keys, Metrics: metrics.NewSet(), Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				for i := range moves {
					moves[i].Epoch++
				}
				err := l.Update(func(w *ledger.Writer) error {
					_, err := w.Commit(b.Context(), ledger.Act{By: "dev", What: "moved", Config: "a", Why: "bench"}, ledger.Changes{Moves: moves})
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
