package record

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Phase says what the agents of a region do with the versions of a pointer.
type Phase uint8

// The phases.
const (
	// PhaseActive: agents in the wave run Candidate, all other agents run Baseline.
	PhaseActive Phase = 1
	// PhaseStage: every agent fetches Candidate and goes on running Baseline.
	PhaseStage Phase = 2
	// PhaseDeleted: the config is deleted. The pointer names no version, and agents show nothing.
	PhaseDeleted Phase = 3
)

// DeletionMemory is the time for which nodes remember that a config was deleted. A leader's store
// remembers it for ever.
const DeletionMemory = 7 * 24 * time.Hour

// WholeFleet is the share of a wave that covers every agent.
const WholeFleet = 10_000

// WavePlaces is the number of places in the order in which waves reach agents. See [WavePlace].
const WavePlaces = 1_000_000_000

// Wave selects the agents that run the candidate.
type Wave struct {
	// Share is the share of the agents in hundredths of a percent, 0 to WholeFleet. An agent is in
	// the share if its place is less than Bound.
	Share uint16 `cbor:"1,keyasint" json:"share_bp"`
	// Any has sets of labels. An agent that has all labels of one set is in the wave, also if
	// it is not in the share.
	Any []map[string]string `cbor:"2,keyasint" json:"any,omitempty"`
	// Bound is the end of the places that the share covers, 1 to WavePlaces. A writer that knows
	// the names of the agents chooses Bound so that exactly the share of them is covered. 0 means the
	// share of all places, which covers about the share of the agents. A wave of no agent and a wave
	// of all agents have no Bound.
	Bound uint32 `cbor:"3,keyasint,omitzero" json:"bound,omitempty"`
}

// Pointer names the versions of a config for a region. An activation key signs the pointer.
type Pointer struct {
	Config string `cbor:"1,keyasint" json:"config"`
	Region string `cbor:"2,keyasint" json:"region"`
	// Epoch grows by one at each change within one history of the store.
	Epoch uint64 `cbor:"3,keyasint" json:"epoch"`
	// Baseline is the zero Ref if there is no baseline.
	Baseline Ref `cbor:"4,keyasint,omitzero" json:"baseline,omitzero"`
	// Candidate is the zero Ref if there is no candidate.
	Candidate  Ref   `cbor:"5,keyasint,omitzero" json:"candidate,omitzero"`
	Wave       Wave  `cbor:"6,keyasint" json:"wave"`
	Phase      Phase `cbor:"7,keyasint" json:"phase"`
	TimeMicros int64 `cbor:"8,keyasint" json:"time_us"` // when it was signed, since the Unix epoch
	// Term counts the histories of the store. See [Position].
	Term uint64 `cbor:"9,keyasint" json:"term"`
}

// Validate checks the fields of the pointer.
func (p Pointer) Validate() error {
	if err := ValidateConfig(p.Config); err != nil {
		return err
	}
	if err := ValidateRegion(p.Region); err != nil {
		return err
	}
	if err := p.Wave.Validate(); err != nil {
		return fmt.Errorf("pointer of %s: %w", p.Config, err)
	}
	for _, r := range []Ref{p.Baseline, p.Candidate} {
		if (r.Version == 0) != (r.Digest == Digest{}) {
			return fmt.Errorf("%w: pointer of %s: version %d needs the digest of its manifest",
				ErrInvalid, p.Config, r.Version)
		}
	}
	named := !p.Baseline.IsZero() || !p.Candidate.IsZero()
	waves := p.Wave.Share != 0 || p.Wave.Bound != 0 || len(p.Wave.Any) > 0
	switch {
	case p.Epoch == 0 || p.Epoch > MaxEpoch:
		return fmt.Errorf("%w: pointer of %s: epoch %d is not in 1 to %d", ErrInvalid, p.Config, p.Epoch, uint64(MaxEpoch))
	case p.Term == 0 || p.Term > MaxTerm:
		return fmt.Errorf("%w: pointer of %s: term %d is not in 1 to %d", ErrInvalid, p.Config, p.Term, uint64(MaxTerm))
	case p.Deleted() && (named || waves):
		return fmt.Errorf("%w: pointer of %s is of a deleted config and names a version or a wave", ErrInvalid, p.Config)
	case !p.Deleted() && !named:
		return fmt.Errorf("%w: pointer of %s names no version", ErrInvalid, p.Config)
	case p.Phase == 0 || p.Phase > PhaseDeleted:
		return fmt.Errorf("%w: pointer of %s: unknown phase %d", ErrInvalid, p.Config, p.Phase)
	}
	return nil
}

// Validate checks the fields of the wave.
func (w Wave) Validate() error {
	labelBytes := 0
	for _, set := range w.Any {
		if len(set) == 0 {
			return fmt.Errorf("%w: a wave with an empty set of labels", ErrInvalid)
		}
		for k, v := range set {
			labelBytes += len(k) + len(v)
		}
	}
	switch {
	case w.Share > WholeFleet:
		return fmt.Errorf("%w: a wave of %s", ErrInvalid, percent(w.Share))
	case w.Bound > WavePlaces:
		return fmt.Errorf("%w: a wave with the bound %d, the limit is %d", ErrInvalid, w.Bound, WavePlaces)
	case w.Bound != 0 && (w.Share == 0 || w.Share == WholeFleet):
		return fmt.Errorf("%w: a wave of %s with the bound %d; such a wave has none", ErrInvalid, percent(w.Share), w.Bound)
	case len(w.Any) > MaxWaveSets:
		return fmt.Errorf("%w: a wave of %d sets of labels, the limit is %d", ErrInvalid, len(w.Any), MaxWaveSets)
	case labelBytes > MaxWaveLabels:
		return fmt.Errorf("%w: wave labels of %d bytes, the limit is %d", ErrInvalid, labelBytes, MaxWaveLabels)
	}
	return nil
}

// Key returns the key of the pointer: the config and the region.
func (p *Pointer) Key() PointerKey { return PointerKey{Config: p.Config, Region: p.Region} }

// Deleted reports whether the config is deleted.
func (p *Pointer) Deleted() bool { return p.Phase == PhaseDeleted }

// Position returns the position of the pointer among the pointers of its key.
func (p *Pointer) Position() Position { return At(p.Term, p.Epoch) }

// Payload returns the canonical encoding of the pointer, which a signature covers.
func (p Pointer) Payload() []byte { return appendPointer(nil, &p) }

// Digest returns the hash of the pointer's payload, which does not depend on the encoding of
// the envelope. Acknowledgements name a pointer by this hash.
func (p Pointer) Digest() Digest { return Sum(p.Payload()) }

// Content returns a hash of what the pointer tells hosts to run: all of the pointer but its term, its
// epoch and its time. A pointer that is issued anew in a new term keeps its content.
func (p Pointer) Content() Digest {
	p.Term = 0
	p.Epoch = 0
	p.TimeMicros = 0
	return Sum(p.Payload())
}

// VersionFor returns the version that an agent must run. It returns the zero Ref if the
// pointer gives the agent no version: the config is deleted, or there is no baseline and the wave
// does not cover the agent.
func (p Pointer) VersionFor(agent string, labels map[string]string) Ref {
	if !p.Candidate.IsZero() && p.Phase == PhaseActive && p.Wave.Covers(p.Config, agent, labels) {
		return p.Candidate
	}
	return p.Baseline
}

// IsEmpty reports whether no agent can be in the wave. A candidate with an empty wave was taken back,
// in a region that ran nothing before.
func (w Wave) IsEmpty() bool { return w.Share == 0 && len(w.Any) == 0 }

// Covers reports whether an agent is in the wave of config.
func (w Wave) Covers(config, agent string, labels map[string]string) bool {
	for _, set := range w.Any {
		if containsAll(labels, set) {
			return true
		}
	}
	return WavePlace(config, agent) < w.End()
}

// End returns the end of the places that the share covers: an agent is in the share if its place
// is less than End.
func (w Wave) End() uint32 {
	if w.Bound != 0 {
		return w.Bound
	}
	return uint32(w.Share) * (WavePlaces / WholeFleet)
}

// String describes the wave, for example "1% or canary=true".
func (w Wave) String() string {
	var parts []string
	if w.Share > 0 || len(w.Any) == 0 {
		parts = append(parts, percent(w.Share))
	}
	for _, set := range w.Any {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(set)) {
			labels = append(labels, k+"="+set[k])
		}
		parts = append(parts, strings.Join(labels, ","))
	}
	return strings.Join(parts, " or ")
}

// percent formats hundredths of a percent: 25 is "0.25%".
func percent(share uint16) string { return strconv.FormatFloat(float64(share)/100, 'f', -1, 64) + "%" }

// containsAll reports whether have has every label of want.
func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// WavePlace returns the fixed place of an agent in the order in which waves reach the agents
// of a config: 0 to WavePlaces-1. A wave that covers 1% of the places covers 0 to 9,999,999.
//
// The place is the xxHash64 of the config, a zero byte and the agent's name, modulo WavePlaces.
// The config is hashed too, so that the canaries of different configs are different hosts. There
// are so many places that two agents of a region hardly ever have the same.
func WavePlace(config, agent string) uint32 {
	var d xxhash.Digest
	d.Reset()
	d.WriteString(config)
	d.Write([]byte{0})
	d.WriteString(agent)
	return uint32(d.Sum64() % WavePlaces)
}

// SignPointer validates p and signs p with an activation key.
func SignPointer(p Pointer, key Key) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return seal(kindPointer, p, key)
}

// Head states the newest revision of a region and the time. An activation key signs the head.
// Heads are ordered by their positions; the time is for people.
type Head struct {
	Region     string `cbor:"1,keyasint" json:"region"`
	Revision   uint64 `cbor:"2,keyasint" json:"revision"` // of the region's newest pointer
	TimeMicros int64  `cbor:"3,keyasint" json:"time_us"`  // since the Unix epoch
	State      State  `cbor:"4,keyasint" json:"state"`    // of the region's pointers
	Term       uint64 `cbor:"5,keyasint" json:"term"`     // of the store
	Number     uint64 `cbor:"6,keyasint" json:"number"`   // within the term; a later head has a higher number
}

// Position returns the place of the head among all heads.
func (h *Head) Position() Position { return At(h.Term, h.Number) }

// SignHead signs h with an activation key.
func SignHead(h Head, key Key) ([]byte, error) {
	if err := ValidateRegion(h.Region); err != nil {
		return nil, err
	}
	return seal(kindHead, h, key)
}

// String describes the pointer in one line, for logs.
func (p Pointer) String() string {
	if p.Deleted() {
		return fmt.Sprintf("%s@%s %s: deleted", p.Config, p.Region, p.Position())
	}
	s := fmt.Sprintf("%s@%s %s: version %d", p.Config, p.Region, p.Position(), p.Baseline.Version)
	if p.Candidate.IsZero() {
		return s
	}
	s += fmt.Sprintf(", candidate %d", p.Candidate.Version)
	if p.Phase == PhaseStage {
		return s + " staged"
	}
	return s + fmt.Sprintf(" at %s", p.Wave)
}

// DecodePointer decodes a signed pointer without verifying the signature, for bytes
// that were verified before they were stored.
func DecodePointer(raw []byte) (p Pointer, err error) {
	if !isBatched(raw) {
		return p, decodeUnverified(kindPointer, raw, &p)
	}
	b, err := openBatched(raw)
	if err != nil {
		return p, err
	}
	return p, decodeCanonical(b.payload, &p)
}
