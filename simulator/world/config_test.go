package world

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/mesh/wire"
	"banyan/record"
)

// The model's sizes against what the codec makes of real records.
func TestModelledSizesAreThoseOfRealMessages(t *testing.T) {
	key := record.KeyFromSeed([32]byte{1})
	p := record.Pointer{Config: "payments/limits", Region: "frankfurt", Term: 1, Epoch: 42, Baseline: Key("payments/limits", 17).Ref(),
		Phase: record.PhaseActive, TimeMicros: 1_800_000_000_000_000}
	pointer, err := record.SignPointer(p, key)
	if err != nil {
		t.Fatal(err)
	}
	batch := &wire.Batch{Pointers: slices.Repeat([]wire.BatchedPointer{{Revision: 4242, Payload: p.Payload()}}, 10)}
	if batch.Root, err = record.SignBatch(batch.Payloads(), key); err != nil {
		t.Fatal(err)
	}
	head, err := record.SignHead(record.Head{Region: "frankfurt", Term: 1, Revision: 4242, TimeMicros: 1_800_000_000_000_000}, key)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := record.SignManifest(record.Manifest{Config: "payments/limits", Version: 17, Parent: 16, BodySize: 1024,
		Forms: []record.Form{{Encoding: record.EncodingIdentity, Size: 1024, Geometry: record.Geometry{Data: 1, ShardBytes: 1024}}}, ContentType: "application/json", Message: "raise the limit", TimeMillis: 1_800_000_000_000}, key)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Config{Agents: []int{1}, BodyBytes: 1024})
	ack := wire.NewAckEntry(record.PointerKey{Config: "payments/limits", Region: "frankfurt"}, record.At(1, 42), record.Sum(nil))
	ack.Applied.Add(77)
	ack.Latency.Add(1234)
	for _, m := range []wire.Message{
		&wire.Announcement{Revision: 4242, Raw: pointer, Pushed: true},
		batch,
		&wire.SignedHead{Raw: head},
		&wire.Push{Config: "payments/limits", Version: 17, Manifest: manifest, Body: make([]byte, 1024)},
		&wire.Ack{Entries: []wire.AckEntry{*ack}},
	} {
		b, err := wire.AppendMessage(make([]byte, 4), m)
		if err != nil {
			t.Fatal(err)
		}
		modelled, real := float64(w.messageSize(m)), float64(len(b)+PacketOverhead)
		if ratio := modelled / real; ratio < 0.85 || ratio > 1.15 {
			t.Errorf("%T is modelled with %.0f bytes and has %.0f", m, modelled, real)
		}
	}
}

func TestMatricesThatComeWithTheSimulator(t *testing.T) {
	for name, regions := range map[string]int{"ibm-2024": 10, "azure-2026": 12, "aws-2020": 12} {
		m, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Regions) != regions {
			t.Errorf("%s has %d regions, want %d", name, len(m.Regions), regions)
		}
		for i := range m.Regions {
			for j := range m.Regions {
				if rtt := m.RTT(i, j); (i == j) != (rtt == 0) || rtt > time.Second {
					t.Errorf("%s: %s to %s takes %s", name, m.Regions[i], m.Regions[j], rtt)
				}
			}
		}
	}
	m, _ := Preset("ibm-2024")
	if got := m.RTT(m.Index("dallas"), m.Index("sydney")); got != 185*time.Millisecond {
		t.Errorf("Dallas to Sydney takes %s", got)
	}
}

func TestAMatrixThatIsNoneIsRefused(t *testing.T) {
	for name, csv := range map[string]string{
		"empty":           "",
		"rows missing":    "from,a,b\na,0,1\n",
		"rows too many":   "from,a\na,0\nb,1\n",
		"cell missing":    "from,a,b\na,0\nb,1,0\n",
		"not a number":    "from,a,b\na,0,x\nb,1,0\n",
		"negative":        "from,a,b\na,0,-1\nb,1,0\n",
		"NaN":             "from,a,b\na,0,NaN\nb,1,0\n",
		"another order":   "from,a,b\nb,0,1\na,1,0\n",
		"no region":       "from\n",
		"bad region name": "from,A b\nA b,0\n",
	} {
		if _, err := ReadMatrix(strings.NewReader(csv)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if _, err := Preset("nowhere"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "ibm-2024") {
		t.Errorf("an unknown preset: %v", err)
	}
}

func FuzzReadMatrix(f *testing.F) {
	f.Add("from,a,b\na,0,1\nb,1,0\n")
	f.Fuzz(func(t *testing.T, csv string) {
		m, err := ReadMatrix(strings.NewReader(csv))
		if err != nil {
			return
		}
		if len(m.rtt) != len(m.Regions)*len(m.Regions) {
			t.Errorf("%d regions and %d round trips", len(m.Regions), len(m.rtt))
		}
	})
}

// What is lost costs a probe timeout: the mean delay under loss is what RFC 9002
// gives, and without loss it is half the round trip.
func TestLossAndJitterLengthenTheWay(t *testing.T) {
	mean := func(n Network) time.Duration {
		n.CrossAZ = 100 * time.Millisecond
		w := newWorld(t, Config{Seed: 1, Agents: []int{3}, Network: n})
		var sum time.Duration
		for range 20_000 {
			sum += w.Propagation(1, 2)
		}
		return sum / 20_000
	}
	if got := mean(Network{}); got != 50*time.Millisecond {
		t.Errorf("without loss: %s, want half of 100 ms", got)
	}
	// Half-normal jitter of standard deviation 10% adds 0.1 × 50 ms × √(2/π).
	if got := mean(Network{Jitter: 0.1}); got < 53*time.Millisecond || got > 55*time.Millisecond {
		t.Errorf("with jitter: %s, want about 54 ms", got)
	}
	// One in ten is lost: 50 + 0.1 × 175 + 0.01 × 350 + … ms.
	if got := mean(Network{Loss: 0.1}); got < 69*time.Millisecond || got > 75*time.Millisecond {
		t.Errorf("with loss: %s, want about 72 ms", got)
	}
}
