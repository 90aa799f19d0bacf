package mesh

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"banyan/record"
)

func sampleMessages() []Message {
	ack := newAckEntry(record.PointerKey{Config: "payments/limits", Region: "eu"}, 9)
	for i := range uint32(500) {
		ack.Applied.Add(i * 3)
		ack.Latency.Add(int64(i) * 100)
	}
	ack.Failed.Add(1)
	ack.addFailure(Failure{Agent: 1, Name: "eu-1", Reason: "checksum"})
	single := newAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 1)
	single.Applied.Add(7)
	single.Latency.Add(1234)
	return []Message{
		&Join{Addr: "127.0.0.1:7", Relay: true, Labels: map[string]string{"zone": "a"}, Index: 3, Avoid: []string{"x"}, Accuse: "x"},
		&Placement{Index: 5, Parent: Location{Name: "p", Addr: "127.0.0.1:8"}},
		&Placement{},
		&Attach{Index: 5, Since: 1 << 40},
		&Attached{},
		&Rejected{Reason: "no room"},
		&Announcement{Revision: 12, Raw: bytes.Repeat([]byte{1}, 300)},
		&SignedHead{Raw: []byte{1, 2, 3}},
		&CatchUp{Since: 4},
		&Gone{Parent: 1, Agents: []uint32{2, 3}},
		&Census{Labels: map[string]uint32{"zone=a": 3}, Waves: []WaveSize{{"a", 2, 3, 1}}, Quarantined: []Quarantined{{7, "h", "a", 1, "check: exit status 1", 5, 2}}, Agents: 25,
			Audiences: []Audience{{SubscribeNothing, 3}, {"a b/c", 4}}},
		&Join{Subscriptions: SubscribeNothing}, &Attach{Subscriptions: "*"}, &Adopted{Members: []Member{{Name: "n", Subscriptions: "a"}}},
		&Survey{ID: 1 << 60, Config: "a", Version: 3}, &Holdings{ID: 4, Region: "eu", Held: []Holding{{Agent: 3, Name: "n", Whole: true}, {Agent: 4, Name: "m", Form: 1, Shards: 3, Of: 9, Cached: true}}},
		&Decline{Key: record.FormKey{VersionKey: record.VersionKey{Config: "a", Version: 3}, Form: 1}, Shards: decodeBits([]byte{5})}, &Want{Key: record.FormKey{VersionKey: record.VersionKey{Config: "a", Version: 3}, Form: 1}, Shards: decodeBits([]byte{5}), Cancel: decodeBits([]byte{1, 2})},
		&Brood{Members: []Location{{Name: "n", Addr: "a:1", Subscriptions: "a b"}}},
		&Announcement{Revision: 12, Raw: []byte{1}, Pushed: true},
		&Placement{Index: 5, Backups: []Location{{Name: "b", Addr: "127.0.0.1:9"}, {}}},
		&Attach{Index: 5, Since: 7, Addr: "127.0.0.1:7", Relay: true, Capacity: 4, Labels: map[string]string{"zone": "a"}, Children: 3},
		&Attached{Path: []uint32{1, 2, 3}},
		&Adopted{Parent: 4, Members: []Member{{Index: 9, Name: "n", Addr: "127.0.0.1:7", Relay: true, Labels: map[string]string{"zone": "a"}}}},
		&RollCall{}, &Shadow{Index: 4}, &Notice{Revision: 9, HeadMicros: 10}, &Accusation{Accuser: 3, Name: "x"},
		&Brood{Members: locations(2)}, &Circle{Members: locations(3), Feeders: locations(1), Feeds: 2}, &Circles{Below: []*Circle{{Members: locations(1)}}},
		&Stored{Config: "a", Version: 4}, &Drift{Agent: 3, Name: "h", Config: "a", Version: 2, State: DriftSeen, Region: "eu"},
		&Rejected{Reason: "later", After: 1000},
		&Push{Config: "a", Version: 3, Manifest: []byte{1}, Body: []byte("body")},
		&Ack{Entries: []AckEntry{*ack, *single}},
	}
}

func TestMessagesComeBackEqual(t *testing.T) {
	for _, m := range sampleMessages() {
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		got, err := DecodeMessage(b)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		again, err := AppendMessage(nil, got)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%T: encodes differently after decoding (%v)", m, err)
		}
		if _, isAck := m.(*Ack); !isAck && !reflect.DeepEqual(m, got) {
			t.Errorf("%T: %+v came back as %+v", m, m, got)
		}
	}
}

func TestMessagesOverALimitAreRefused(t *testing.T) {
	long := strings.Repeat("x", 1000)
	many := make([]uint32, MaxChildren+1)
	entries := make([]AckEntry, MaxAckEntries+1)
	for i := range entries {
		entries[i] = *newAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 1)
	}
	for _, m := range []Message{
		&Join{Addr: long}, &Join{Avoid: []string{long}}, &Join{Avoid: make([]string, MaxAvoid+1)}, &Join{Labels: map[string]string{long: ""}},
		&Placement{Parent: Location{Addr: long}}, &Rejected{Reason: long},
		&Announcement{Raw: make([]byte, 513)}, &SignedHead{Raw: make([]byte, 513)},
		&Placement{Backups: make([]Location, MaxBackups+1)}, &Placement{Gossip: []string{long}}, &Placement{Gossip: make([]string, MaxBackups+1)}, &Placement{Backups: []Location{{Addr: long}}}, &Attach{Addr: long},
		&Attached{Path: make([]uint32, MaxPath+1)}, &Adopted{Members: make([]Member, MaxMembers+1)}, &Adopted{Members: []Member{{Name: long}}},
		&Accusation{Name: long},
		&Brood{Members: locations(MaxChildren + 1)}, &Circle{Feeders: []Location{{Name: long}}}, &Circles{Below: make([]*Circle, MaxCircles+1)}, &Stored{Config: long}, &Drift{Name: long}, &Census{Waves: make([]WaveSize, MaxWaves+1)}, &Census{Quarantined: []Quarantined{{Reason: long}}}, &Census{Audiences: make([]Audience, MaxAudiences+1)},
		&Survey{Config: long}, &Holdings{Held: make([]Holding, MaxHoldings+1)}, &Holdings{Region: long}, &Holdings{Held: []Holding{{Name: long}}}, &Decline{Key: record.FormKey{VersionKey: record.VersionKey{Config: long, Version: 1}, Form: 0}, Shards: decodeBits(nil)},
		&Join{Subscriptions: Subscriptions(long)}, &Attach{Subscriptions: "a//b"}, &Adopted{Members: []Member{{Subscriptions: "a /"}}}, &Brood{Members: []Location{{Subscriptions: "a  b"}}},
		&Push{Config: long}, &Push{Manifest: make([]byte, record.MaxManifest+1)}, &Push{Body: make([]byte, MaxPush+1)},
		&Gone{Agents: many}, &Ack{Entries: entries},
		&Ack{Entries: []AckEntry{*newAckEntry(record.PointerKey{Config: long, Region: "eu"}, 1)}},
	} {
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if _, err := DecodeMessage(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T over its limit: got %v, want ErrMalformed", m, err)
		}
	}
	for _, b := range [][]byte{nil, {0}, {99}, make([]byte, MaxMessage+1), {tagJoin, 0xff}} {
		if _, err := DecodeMessage(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: got %v, want ErrMalformed", len(b), err)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		b, err := AppendMessage(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		// What was decoded can be used and sent on.
		if a, ok := m.(*Ack); ok {
			for i := range a.Entries {
				total := newAckEntry(a.Entries[i].key(), a.Entries[i].Epoch)
				total.Merge(&a.Entries[i])
				total.Merge(&a.Entries[i])
				total.Latency.Quantile(0.99)
			}
		}
		if _, err := AppendMessage(nil, m); err != nil {
			t.Errorf("%T decoded and does not encode: %v", m, err)
		}
	})
}

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
