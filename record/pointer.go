package record

import (
	"fmt"
	"maps"
	"slices"
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

// Wave selects the agents that run the candidate.
type Wave struct {
	// Percent of the agents, 0 to 100, by a hash of their name.
	Percent uint8 `cbor:"1,keyasint" json:"percent"`
	// Labels select agents that carry all of them, whatever the percentage.
	Labels map[string]string `cbor:"2,keyasint" json:"labels,omitempty"`
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
	labelBytes := 0
	for k, v := range p.Wave.Labels {
		labelBytes += len(k) + len(v)
	}
	switch {
	case p.Epoch == 0:
		return fmt.Errorf("%w: pointer of %s: epochs start at 1", ErrInvalid, p.Config)
	case p.Baseline == 0 && p.Candidate == 0:
		return fmt.Errorf("%w: pointer of %s names no version", ErrInvalid, p.Config)
	case p.Wave.Percent > 100:
		return fmt.Errorf("%w: pointer of %s: a wave of %d%%", ErrInvalid, p.Config, p.Wave.Percent)
	case labelBytes > MaxWaveLabels:
		return fmt.Errorf("%w: pointer of %s: wave labels of %d bytes, the limit is %d", ErrInvalid, p.Config, labelBytes, MaxWaveLabels)
	case p.Phase != PhaseActive && p.Phase != PhaseStage:
		return fmt.Errorf("%w: pointer of %s: unknown phase %d", ErrInvalid, p.Config, p.Phase)
	}
	return nil
}

// VersionFor tells which version the agent of that name and those labels runs;
// 0 when the pointer gives it none (a candidate that has not reached it, over
// no baseline).
func (p Pointer) VersionFor(agent string, labels map[string]string) uint64 {
	if p.Candidate != 0 && p.Phase == PhaseActive && p.Wave.covers(p.Config, agent, labels) {
		return p.Candidate
	}
	return p.Baseline
}

func (w Wave) covers(config, agent string, labels map[string]string) bool {
	if len(w.Labels) > 0 && containsAll(labels, w.Labels) {
		return true
	}
	return WavePlace(config, agent) < uint32(w.Percent)*100
}

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
		fmt.Fprintf(&b, ", candidate %d at %d%%", p.Candidate, p.Wave.Percent)
		for _, k := range slices.Sorted(maps.Keys(p.Wave.Labels)) {
			fmt.Fprintf(&b, " %s=%s", k, p.Wave.Labels[k])
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
