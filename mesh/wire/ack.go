package wire

import (
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/record"
)

// Ack carries merged acknowledgements up the tree.
type Ack struct {
	// Entries has at most MaxAckEntries entries.
	Entries []AckEntry
}

// AckEntry holds the outcomes of an epoch of a config at agents of a region.
type AckEntry struct {
	Config string
	Region string
	// Position and Pointer name the pointer: its position and its digest.
	Position record.Position
	Pointer  record.Digest
	// Applied holds the indices of the agents that applied the pointer.
	Applied *roaring.Bitmap
	// Latency summarizes the time from the pointer's signature to the durable apply, by each
	// agent's clock.
	Latency Latencies
	// Running holds the indices of the agents in Applied running the pointer's candidate.
	Running *roaring.Bitmap
	// Failed holds the indices of the agents on which the version failed.
	Failed *roaring.Bitmap
	// Failures are the reasons of the first MaxFailures agents that have not applied the epoch.
	// An agent that is not in Failed met a fault of its host or of its network, says nothing
	// about the version, and tries again.
	Failures []Failure
}

// Failure is the reason why one agent did not apply a pointer.
type Failure struct {
	Agent  uint32 `cbor:"1,keyasint"`
	Name   string `cbor:"2,keyasint"`
	Reason string `cbor:"3,keyasint"`
	// Attempts is the number of times that the agent has tried to apply the pointer.
	Attempts uint32 `cbor:"4,keyasint,omitempty"`
}

// NewAckEntry returns an entry without any outcome.
func NewAckEntry(key record.PointerKey, at record.Position, pointer record.Digest) *AckEntry {
	return &AckEntry{
		Config:   key.Config,
		Region:   key.Region,
		Position: at,
		Pointer:  pointer,
		Applied:  roaring.New(),
		Running:  roaring.New(),
		Failed:   roaring.New(),
	}
}

// Key returns the key of the pointer that the entry is about.
func (e *AckEntry) Key() record.PointerKey {
	return record.PointerKey{Config: e.Config, Region: e.Region}
}

// Merge adds the outcomes of another entry of the same pointer. An agent that
// failed and applied counts as applied.
func (e *AckEntry) Merge(other *AckEntry) {
	e.Applied.Or(other.Applied)
	e.Running.Or(other.Running)
	e.Failed.Or(other.Failed)
	e.Failed.AndNot(e.Applied)
	e.Latency.Merge(&other.Latency)
	for _, f := range other.Failures {
		e.AddFailure(f)
	}
	e.Failures = slices.DeleteFunc(e.Failures, func(f Failure) bool { return e.Applied.Contains(f.Agent) })
}

// AddFailure records the reason of an agent's failure. A newer reason of the same agent
// replaces the older. Past MaxFailures agents, the reason is dropped.
func (e *AckEntry) AddFailure(f Failure) {
	i := slices.IndexFunc(e.Failures, func(g Failure) bool { return g.Agent == f.Agent })
	switch {
	case i >= 0:
		e.Failures[i] = f
	case len(e.Failures) < MaxFailures:
		e.Failures = append(e.Failures, f)
	}
}

// Has reports whether the entry has an outcome, or a reason, of an agent.
func (e *AckEntry) Has(agent uint32) bool {
	return e.Applied.Contains(agent) || e.Running.Contains(agent) || e.Failed.Contains(agent) ||
		slices.ContainsFunc(e.Failures, func(f Failure) bool { return f.Agent == agent })
}

// Remove removes the outcome of an agent. Its latency stays in the summary.
func (e *AckEntry) Remove(agent uint32) {
	e.Applied.Remove(agent)
	e.Running.Remove(agent)
	e.Failed.Remove(agent)
	e.Failures = slices.DeleteFunc(e.Failures, func(f Failure) bool { return f.Agent == agent })
}

// WithoutLatency returns the entry without latencies, and otherwise the same outcomes.
func (e *AckEntry) WithoutLatency() *AckEntry {
	if e.Latency.Count() == 0 {
		return e
	}
	bare := *e
	bare.Latency = Latencies{}
	return &bare
}

// MaxSize returns a size in bytes that the encoded entry does not exceed.
func (e *AckEntry) MaxSize() int {
	size := ackOverhead + len(e.Config) + len(e.Region)
	for _, b := range []*roaring.Bitmap{e.Applied, e.Running, e.Failed} {
		size += int(b.GetSerializedSizeInBytes())
	}
	if e.Latency.Count() > 0 {
		size += len(e.Latency.append(nil))
	}
	for _, f := range e.Failures {
		size += failureOverhead + len(f.Name) + len(f.Reason)
	}
	return size
}

// Bounds on what keys, numbers and lengths add to an entry, and to a failure.
const (
	ackOverhead     = 128
	failureOverhead = 32
)

// SplitAcks returns the entries in groups that fit into one message each. The agents of an entry
// that is too large for a message are shared out to several entries, which merge into the
// same. Reasons that do not fit are dropped first.
func SplitAcks(entries []AckEntry) [][]AckEntry {
	var groups [][]AckEntry
	size := MaxMessage
	add := func(e AckEntry, max int) {
		if size+max > MaxMessage-ackOverhead || len(groups[len(groups)-1]) == MaxAckEntries {
			groups = append(groups, nil)
			size = 0
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], e)
		size += max
	}
	for _, e := range entries {
		if max := e.MaxSize(); max <= MaxMessage-ackOverhead {
			add(e, max)
			continue
		}
		e.Failures = nil
		for _, part := range e.split() {
			add(part, part.MaxSize())
		}
	}
	return groups
}

// split shares the agents of an entry out, by index, until every part fits into a message.
func (e *AckEntry) split() []AckEntry {
	all := roaring.Or(e.Applied, e.Failed)
	if e.MaxSize() <= MaxMessage-ackOverhead || all.GetCardinality() < 2 {
		return []AckEntry{*e}
	}
	middle, err := all.Select(uint32(all.GetCardinality() / 2))
	if err != nil {
		panic(err) // the set has that many elements
	}
	low := roaring.New()
	low.AddRange(0, uint64(middle))
	lower := NewAckEntry(e.Key(), e.Position, e.Pointer)
	upper := NewAckEntry(e.Key(), e.Position, e.Pointer)
	lower.Latency = e.Latency
	for _, set := range []struct{ from, lower, upper *roaring.Bitmap }{
		{e.Applied, lower.Applied, upper.Applied},
		{e.Running, lower.Running, upper.Running},
		{e.Failed, lower.Failed, upper.Failed},
	} {
		set.lower.Or(roaring.And(set.from, low))
		set.upper.Or(roaring.AndNot(set.from, low))
	}
	return append(lower.split(), upper.split()...)
}

func (*Ack) tag() byte { return 10 }

func (m *Ack) validate() error {
	return checkLength("acknowledgements", len(m.Entries), MaxAckEntries)
}

// wireAck is the encoded form of an Ack: bitmaps and latencies are byte strings.
type wireAck struct {
	Entries []wireAckEntry `cbor:"1,keyasint"`
}

// wireAckEntry is the encoded form of an AckEntry. Bitmaps have the portable format of
// Roaring; an empty bitmap is left out.
type wireAckEntry struct {
	Config   string          `cbor:"1,keyasint"`
	Region   string          `cbor:"2,keyasint"`
	Position record.Position `cbor:"3,keyasint"`
	Applied  []byte          `cbor:"4,keyasint,omitempty"`
	Latency  []byte          `cbor:"5,keyasint,omitempty"`
	Failed   []byte          `cbor:"6,keyasint,omitempty"`
	Failures []Failure       `cbor:"7,keyasint,omitempty"`
	Running  []byte          `cbor:"8,keyasint,omitempty"`
	Pointer  record.Digest   `cbor:"9,keyasint"`
}

func (m *Ack) wireForm() (any, error) {
	w := wireAck{Entries: make([]wireAckEntry, len(m.Entries))}
	for i := range m.Entries {
		var err error
		if w.Entries[i], err = m.Entries[i].wireForm(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (e *AckEntry) wireForm() (wireAckEntry, error) {
	w := wireAckEntry{
		Config:   e.Config,
		Region:   e.Region,
		Position: e.Position,
		Pointer:  e.Pointer,
		Failures: e.Failures,
	}
	var err error
	if w.Applied, err = encodeBitmap(e.Applied); err != nil {
		return w, err
	}
	if w.Failed, err = encodeBitmap(e.Failed); err != nil {
		return w, err
	}
	if w.Running, err = encodeBitmap(e.Running); err != nil {
		return w, err
	}
	if e.Latency.Count() > 0 {
		w.Latency = e.Latency.append(nil)
	}
	return w, nil
}

func encodeBitmap(b *roaring.Bitmap) ([]byte, error) {
	if b.IsEmpty() {
		return nil, nil
	}
	b.RunOptimize()
	return b.ToBytes()
}

func decodeAck(data []byte) (Message, error) {
	w, err := unmarshal[wireAck](data)
	if err != nil {
		return nil, err
	}
	m := &Ack{Entries: make([]AckEntry, len(w.Entries))}
	if err := m.validate(); err != nil {
		return nil, err
	}
	for i := range w.Entries {
		m.Entries[i], err = w.Entries[i].decode()
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (w *wireAckEntry) validate() error {
	if err := checkLength("acknowledgement: config name", len(w.Config), record.MaxConfigName); err != nil {
		return err
	}
	if err := checkLength("acknowledgement: region name", len(w.Region), record.MaxRegionName); err != nil {
		return err
	}
	if err := checkLength("acknowledgement: failures", len(w.Failures), MaxFailures); err != nil {
		return err
	}
	for _, f := range w.Failures {
		if err := checkNames("acknowledgement: name of an agent", MaxAddress, f.Name); err != nil {
			return err
		}
		if err := checkNames("acknowledgement: reason", MaxReason, f.Reason); err != nil {
			return err
		}
	}
	return nil
}

func (w *wireAckEntry) decode() (AckEntry, error) {
	if err := w.validate(); err != nil {
		return AckEntry{}, err
	}
	e := AckEntry{
		Config:   w.Config,
		Region:   w.Region,
		Position: w.Position,
		Pointer:  w.Pointer,
		Failures: w.Failures,
	}
	var err error
	if e.Applied, err = decodeBitmap(w.Applied); err != nil {
		return e, err
	}
	if e.Failed, err = decodeBitmap(w.Failed); err != nil {
		return e, err
	}
	if e.Running, err = decodeBitmap(w.Running); err != nil {
		return e, err
	}
	if len(w.Latency) > 0 {
		e.Latency, err = decodeLatencies(w.Latency)
	}
	return e, err
}

func decodeBitmap(b []byte) (*roaring.Bitmap, error) {
	bitmap := roaring.New()
	if len(b) == 0 {
		return bitmap, nil
	}
	if err := bitmap.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("%w: agent bitmap: %s", ErrMalformed, err)
	}
	if err := bitmap.Validate(); err != nil {
		return nil, fmt.Errorf("%w: agent bitmap: %s", ErrMalformed, err)
	}
	return bitmap, nil
}
