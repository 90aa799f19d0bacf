package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/record"
)

var (
	testVersion = record.VersionKey{Config: "payments/limits", Version: 3}
	testForm    = record.FormKey{VersionKey: testVersion, Form: 1}
)

// testLocations returns n locations with different names.
func testLocations(n int) []Location {
	all := make([]Location, n)
	for i := range all {
		all[i] = Location{Name: fmt.Sprintf("host-%04d", i), Addr: fmt.Sprintf("host-%04d:1", i)}
	}
	return all
}

func testDescription() Description {
	return Description{
		Addr:          "127.0.0.1:7",
		Relay:         true,
		Capacity:      4,
		Labels:        map[string]string{ZoneLabel: "a"},
		Subscriptions: "a b/c",
		Instance:      1 << 60,
	}
}

// testAck returns acknowledgements of many agents, and of a single agent.
func testAck() *Ack {
	many := NewAckEntry(record.PointerKey{Config: "payments/limits", Region: "eu"}, 9, record.Digest{9})
	for i := range uint32(500) {
		many.Applied.Add(i * 3)
		many.Latency.Add(int64(i) * 100)
	}
	many.Running.Add(6)
	many.Failed.Add(1)
	many.AddFailure(Failure{Agent: 1, Name: "eu-1", Reason: "checksum", Attempts: 2})
	single := NewAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 1, record.Digest{1})
	single.Applied.Add(7)
	single.Latency.Add(1234)
	return &Ack{Entries: []AckEntry{*many, *single}}
}

// indices returns a bitmap of some indices in the portable format.
func indices(of ...uint32) []byte {
	raw, err := encodeBitmap(roaring.BitmapOf(of...))
	if err != nil {
		panic(err)
	}
	return raw
}

// testCensus returns a census with an entry in each list.
func testCensus() *Census {
	return &Census{
		Agents:      25,
		Present:     indices(7, 9),
		Labels:      map[string]uint32{"zone=a": 3},
		Waves:       []WaveSize{{Config: "a", Position: 2, Agents: 3, InWave: 1}},
		Quarantined: []Quarantined{{Index: 7, Name: "h", Config: "a", Position: 1, Reason: "exit status 1", Millis: 5, Audience: 2}},
		Audiences:   []Audience{{Subscriptions: SubscribeNothing, Agents: 3}, {Subscriptions: "a b/c", Agents: 4}},
	}
}

// testMessages returns at least one message of each type.
func testMessages() []Message {
	return []Message{
		&Join{},
		&Join{Index: 3, Avoid: []string{"x"}, Accuse: "x", Description: testDescription()},
		&Placement{},
		&Placement{Index: 5, Parent: Location{Name: "p", Addr: "127.0.0.1:8"}},
		&Placement{Index: 5, Backups: []Location{{Name: "b", Addr: "127.0.0.1:9"}, {}}, Gossip: []string{"127.0.0.1:7403"}},
		&Attach{Index: 5, Since: 1 << 40},
		&Attach{Index: 5, Since: 7, Description: testDescription(), Children: 3},
		&Attached{},
		&Attached{Path: []uint32{1, 2, 3}},
		&Rejected{Reason: "no room"},
		&Rejected{Reason: "later", After: 1000},
		&Announcement{Revision: 12, Raw: bytes.Repeat([]byte{1}, 300)},
		&Announcement{Revision: 12, Raw: []byte{1}, Pushed: true},
		&SignedHead{Raw: []byte{1, 2, 3}},
		&CatchUp{Since: 4},
		&CatchUp{Since: 4, Paged: true},
		&Page{},
		&Page{Last: 9, More: true},
		&Gone{Parent: 1, Agents: []uint32{2, 3}},
		testAck(),
		testCensus(),
		&Push{Config: "a", Version: 3, Manifest: []byte{1}, Body: []byte("body")},
		&Adopted{Parent: 4, Members: []Member{{Index: 9, Name: "n", Description: testDescription(), Children: 2}}},
		&RollCall{},
		&Displaced{Index: 70000},
		&Batch{Root: []byte{1}, Pointers: []BatchedPointer{{Revision: 12, Payload: []byte{2}}, {Revision: 13, Payload: []byte{3}, Pushed: true}}},
		&RollCall{Of: []uint32{3, 70000}},
		&RollCall{All: true, List: []uint32{9}},
		&Families{Families: []Family{{Parent: 4, Children: []uint32{9, 70000}}, {Parent: 9}}},
		&Shadow{Index: 4},
		&Notice{Revision: 9, Head: 10},
		&Accusation{Accuser: 3, Name: "x"},
		&Brood{Members: testLocations(2)},
		&Brood{Members: []Location{{Name: "n", Addr: "a:1", Subscriptions: "a b"}}},
		&Circle{Members: testLocations(3), Feeders: testLocations(1), Feeds: 2},
		&Circles{Below: []*Circle{{Members: testLocations(1)}}},
		&Want{Key: testForm, Shards: decodeBits([]byte{5}), Cancel: decodeBits([]byte{1, 2})},
		&Decline{Key: testForm, Shards: decodeBits([]byte{5})},
		&Stored{Config: "a", Version: 4},
		&Drift{Agent: 3, Name: "h", Config: "a", Version: 2, State: DriftSeen, Region: "eu"},
		&Survey{ID: 1 << 60, Config: "a", Version: 3},
		&Holdings{ID: 4, Region: "eu", Held: []Holding{
			{Agent: 3, Name: "n", Whole: true},
			{Agent: 4, Name: "m", Form: 1, Shards: 3, Of: 9, Cached: true},
		}},
	}
}

func TestEveryMessageComesBackEqual(t *testing.T) {
	seen := map[byte]bool{}
	for _, m := range testMessages() {
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		seen[b[0]] = true
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
	for tag, decode := range decoders {
		if decode != nil && !seen[byte(tag)] {
			t.Errorf("testMessages has no message with tag %d", tag)
		}
	}
}

func TestTheTableOfDecodersAgreesWithTheTags(t *testing.T) {
	for _, m := range testMessages() {
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoders[m.tag()](b[1:])
		if err != nil || reflect.TypeOf(got) != reflect.TypeOf(m) {
			t.Errorf("tag %d of %T decodes to %T (%v)", m.tag(), m, got, err)
		}
	}
}

func TestMessagesOverALimitAreRefused(t *testing.T) {
	const long = 1000
	longName := strings.Repeat("x", long)
	longKey := record.PointerKey{Config: longName, Region: "eu"}
	entries := make([]AckEntry, MaxAckEntries+1)
	for i := range entries {
		entries[i] = *NewAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 1, record.Digest{1})
	}
	withFailure := func(f Failure) *Ack {
		e := NewAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 1, record.Digest{1})
		e.AddFailure(f)
		return &Ack{Entries: []AckEntry{*e}}
	}
	for _, m := range []Message{
		&Join{Description: Description{Addr: longName}},
		&Join{Description: Description{Labels: map[string]string{longName: ""}}},
		&Join{Description: Description{Labels: map[string]string{"zone": longName}}},
		&Join{Description: Description{Subscriptions: Subscriptions(longName)}},
		&Join{Avoid: []string{longName}},
		&Join{Avoid: make([]string, MaxAvoid+1)},
		&Join{Accuse: longName},
		&Placement{Parent: Location{Addr: longName}},
		&Placement{Backups: make([]Location, MaxBackups+1)},
		&Placement{Backups: []Location{{Addr: longName}}},
		&Placement{Gossip: []string{longName}},
		&Placement{Gossip: make([]string, MaxBackups+1)},
		&Attach{Description: Description{Addr: longName}},
		&Attach{Description: Description{Subscriptions: "a//b"}},
		&Attached{Path: make([]uint32, MaxPath+1)},
		&Rejected{Reason: longName},
		&Announcement{Raw: make([]byte, record.MaxAnnouncement+1)},
		&Batch{Root: make([]byte, record.MaxRoot+1)},
		&Batch{Pointers: make([]BatchedPointer, record.MaxBatch+1)},
		&Batch{Pointers: []BatchedPointer{{Payload: make([]byte, record.MaxPointerPayload+1)}}},
		&SignedHead{Raw: make([]byte, record.MaxHead+1)},
		&Gone{Agents: make([]uint32, MaxChildren+1)},
		&Adopted{Members: make([]Member, MaxMembers+1)},
		&Adopted{Members: []Member{{Name: longName}}},
		&Adopted{Members: []Member{{Description: Description{Subscriptions: "a /"}}}},
		&Accusation{Name: longName},
		&Brood{Members: testLocations(MaxChildren + 1)},
		&Brood{Members: []Location{{Subscriptions: "a  b"}}},
		&Circle{Members: testLocations(MaxChildren + 1)},
		&Circle{Feeders: []Location{{Name: longName}}},
		&Circles{Below: make([]*Circle, MaxCircles+1)},
		&Circles{Below: []*Circle{nil}},
		&Stored{Config: longName},
		&Drift{Name: longName},
		&Drift{Config: longName},
		&Drift{Region: longName},
		&Census{Waves: make([]WaveSize, MaxWaves+1)},
		&Census{Waves: []WaveSize{{Config: longName}}},
		&Census{Labels: map[string]uint32{longName: 1}},
		&Census{Quarantined: []Quarantined{{Reason: longName}}},
		&Census{Quarantined: make([]Quarantined, MaxQuarantined+1)},
		&Census{Audiences: make([]Audience, MaxAudiences+1)},
		&Census{Audiences: []Audience{{Subscriptions: "a//b"}}},
		&Census{Present: []byte("no bitmap")},
		&Survey{Config: longName},
		&Holdings{Held: make([]Holding, MaxHoldings+1)},
		&Holdings{Region: longName},
		&Holdings{Held: []Holding{{Name: longName}}},
		&Want{Key: record.FormKey{Form: record.MaxForms}, Shards: decodeBits(nil), Cancel: decodeBits(nil)},
		&Want{Shards: decodeBits(bytes.Repeat([]byte{1}, record.MaxIndex/8+1)), Cancel: decodeBits(nil)},
		&Decline{Key: record.FormKey{VersionKey: record.VersionKey{Config: longName}}, Shards: decodeBits(nil)},
		&Push{Config: longName},
		&Push{Manifest: make([]byte, record.MaxManifest+1)},
		&Push{Body: make([]byte, MaxPush+1)},
		&Ack{Entries: entries},
		&Ack{Entries: []AckEntry{*NewAckEntry(longKey, 1, record.Digest{})}},
		withFailure(Failure{Name: longName}),
		withFailure(Failure{Reason: longName}),
	} {
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if _, err := DecodeMessage(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T over a limit: got %v, want ErrMalformed", m, err)
		}
	}
}

func TestBytesThatAreNoMessageAreRefused(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, {byte(len(decoders))}, {firstOptional - 1}, make([]byte, MaxMessage+1), {1}, {1, 0xff}} {
		if _, err := DecodeMessage(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: got %v, want ErrMalformed", len(b), err)
		}
	}
}

// A later build may add keys to a message, and messages that a node may skip.
func TestWhatALaterBuildAddsIsSkipped(t *testing.T) {
	m, err := DecodeMessage([]byte{8, 0xa2, 1, 7, 0x18, 99, 1}) // a catch-up with a key 99
	if got, ok := m.(*CatchUp); err != nil || !ok || got.Since != 7 {
		t.Errorf("a message with a key that nobody knows: %+v, %v", m, err)
	}
	if _, err := DecodeMessage([]byte{firstOptional, 0xff}); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrMalformed) {
		t.Errorf("a message that may be skipped: %v", err)
	}
}

func TestAMessageThatIsTooLargeIsNotEncoded(t *testing.T) {
	_, err := AppendMessage(nil, &Push{Body: make([]byte, MaxMessage)})
	if !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// The largest batch of the largest pointers is within the size of a message.
func TestALeaderCanSendTheLargestBatch(t *testing.T) {
	m := &Batch{Root: make([]byte, record.MaxRoot), Pointers: make([]BatchedPointer, record.MaxBatch)}
	for i := range m.Pointers {
		m.Pointers[i] = BatchedPointer{Revision: math.MaxUint64, Payload: make([]byte, record.MaxPointerPayload), Pushed: true}
	}
	b, err := AppendMessage(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeMessage(b); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range testMessages() {
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
		// A decoded message can be used, and sent to another node.
		if a, ok := m.(*Ack); ok {
			for i := range a.Entries {
				total := NewAckEntry(a.Entries[i].Key(), a.Entries[i].Position, a.Entries[i].Pointer)
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
