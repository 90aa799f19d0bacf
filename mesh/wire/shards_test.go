package wire

import (
	"testing"

	"github.com/bits-and-blooms/bitset"

	"banyan/record"
)

func TestWantTravels(t *testing.T) {
	for _, shards := range [][]uint{nil, {0}, {7, 8, 63, 64, 65, 1433}} {
		m := &Want{Key: record.FormKey{VersionKey: record.VersionKey{Config: "a", Version: 3}, Form: 1}, Shards: bitset.New(0), Cancel: bitset.FromWithLength(8, []uint64{5})}
		for _, s := range shards {
			m.Shards.Set(s)
		}
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		w := got.(*Want)
		if w.Key != m.Key || w.Shards.Count() != uint(len(shards)) || w.Shards.DifferenceCardinality(m.Shards) != 0 || w.Cancel.Count() != 2 {
			t.Errorf("sent %+v, got %+v", m, w)
		}
	}
}
