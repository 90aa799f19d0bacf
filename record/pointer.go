package record

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Phase says what a region's agents do about a pointer's versions.
type Phase uint8

const (
	// PhaseActive: run Baseline, and Candidate where the wave says so.
	PhaseActive Phase = 1
	// PhaseStage: fetch Candidate, and go on running Baseline.
	PhaseStage Phase = 2
)

// WholeFleet is the share of a wave that covers every agent.
const WholeFleet = 10_000

// Wave selects the agents that run the candidate.
type Wave struct {
	// Share of the agents, by a hash of their name, in hundredths of a percent: 0 to WholeFleet.
	Share uint16 `cbor:"1,keyasint" json:"share_bp"`
	// Any selects agents that carry all labels of one of its sets, whatever the share.
	Any []map[string]string `cbor:"2,keyasint" json:"any,omitempty"`
}

// Pointer says what one region runs of one config. An activation key signs it.
type Pointer struct {
	Config     string `cbor:"1,keyasint" json:"config"`
	Region     string `cbor:"2,keyasint" json:"region"`
	Epoch      uint64 `cbor:"3,keyasint" json:"epoch"` // grows by one at each change
	Baseline   uint64 `cbor:"4,keyasint" json:"baseline"`
	Candidate  uint64 `cbor:"5,keyasint" json:"candidate"` // 0 for none
	Wave       Wave   `cbor:"6,keyasint" json:"wave"`
	Phase      Phase  `cbor:"7,keyasint" json:"phase"`
	TimeMicros int64  `cbor:"8,keyasint" json:"time_us"` // when it was signed, since the Unix epoch
}

// Validate reports the first field that holds what it must not.
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
	switch {
	case p.Epoch == 0:
		return fmt.Errorf("%w: pointer of %s: epochs start at 1", ErrInvalid, p.Config)
	case p.Baseline == 0 && p.Candidate == 0:
		return fmt.Errorf("%w: pointer of %s names no version", ErrInvalid, p.Config)
	case p.Phase != PhaseActive && p.Phase != PhaseStage:
		return fmt.Errorf("%w: pointer of %s: unknown phase %d", ErrInvalid, p.Config, p.Phase)
	}
	return nil
}

// Validate reports what a wave holds that it must not.
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
	case len(w.Any) > MaxWaveSets:
		return fmt.Errorf("%w: a wave of %d sets of labels, the limit is %d", ErrInvalid, len(w.Any), MaxWaveSets)
	case labelBytes > MaxWaveLabels:
		return fmt.Errorf("%w: wave labels of %d bytes, the limit is %d", ErrInvalid, labelBytes, MaxWaveLabels)
	}
	return nil
}

// Key returns the key of the pointer: its config and region.
func (p *Pointer) Key() PointerKey { return PointerKey{Config: p.Config, Region: p.Region} }

// VersionFor tells which version the agent of that name and those labels runs;
// 0 when the pointer gives it none (a candidate that has not reached it, over
// no baseline).
func (p Pointer) VersionFor(agent string, labels map[string]string) uint64 {
	if p.Candidate != 0 && p.Phase == PhaseActive && p.Wave.Covers(p.Config, agent, labels) {
		return p.Candidate
	}
	return p.Baseline
}

// Covers tells whether the agent of that name and those labels is in a wave of config.
func (w Wave) Covers(config, agent string, labels map[string]string) bool {
	for _, set := range w.Any {
		if containsAll(labels, set) {
			return true
		}
	}
	return WavePlace(config, agent) < uint32(w.Share)
}

// String shows a wave in a few words: "1% or canary=true".
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

func percent(share uint16) string { return strconv.FormatFloat(float64(share)/100, 'f', -1, 64) + "%" }

func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// WavePlace is an agent's fixed place in the order in which waves reach the
// agents of a config: 0 to 9999, in hundredths of a percent. It is the xxHash64
// of the config, a zero byte and the agent's name, modulo 10000. The config is
// part of it, so that the same hosts are not every config's canaries.
func WavePlace(config, agent string) uint32 {
	var d xxhash.Digest
	d.Reset()
	d.WriteString(config)
	d.Write([]byte{0})
	d.WriteString(agent)
	return uint32(d.Sum64() % 10000)
}

// SignPointer validates p and signs it with an activation key.
func SignPointer(p Pointer, key Key) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return seal(kindPointer, p, key)
}

// Head says how far a region's store had come at a moment. An activation key signs it.
type Head struct {
	Region     string `cbor:"1,keyasint" json:"region"`
	Revision   uint64 `cbor:"2,keyasint" json:"revision"` // of the region's newest pointer
	TimeMicros int64  `cbor:"3,keyasint" json:"time_us"`  // since the Unix epoch
	State      State  `cbor:"4,keyasint" json:"state"`    // of the region's pointers
}

// SignHead signs h with an activation key.
func SignHead(h Head, key Key) ([]byte, error) {
	if err := ValidateRegion(h.Region); err != nil {
		return nil, err
	}
	return seal(kindHead, h, key)
}

// String shows a pointer in a line, for logs.
func (p Pointer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%s epoch %d: version %d", p.Config, p.Region, p.Epoch, p.Baseline)
	if p.Candidate != 0 {
		if fmt.Fprintf(&b, ", candidate %d", p.Candidate); p.Phase == PhaseStage {
			b.WriteString(" staged")
		} else {
			fmt.Fprintf(&b, " at %s", p.Wave)
		}
	}
	return b.String()
}

// DecodePointer reads a signed pointer without verifying it: for bytes that
// were verified before they were stored.
func DecodePointer(raw []byte) (Pointer, error) {
	var p Pointer
	return p, decodeUnverified(kindPointer, raw, &p)
}
