package rollout

import (
	"slices"
	"strings"
	"time"

	"banyan/internal/quantity"
	"banyan/record"
)

// Values of Plan.OnFailure.
const (
	FailRollback = "rollback"
	FailPause    = "pause"
)

// Defaults of a plan.
const (
	DefaultShare        = quantity.Percent(0.99)
	DefaultGone         = quantity.Percent(0.1)
	DefaultStageTimeout = quantity.Duration(5 * time.Minute)
	DefaultWaveTimeout  = quantity.Duration(2 * time.Minute)
	DefaultEvery        = quantity.Duration(15 * time.Second)
	DefaultLimit        = quantity.Duration(time.Minute)
)

// maxBake is the maximum duration of a bake.
const maxBake = 30 * 24 * time.Hour

// Plan is how a version goes live. plan.schema.json is its JSON Schema. The zero value stages
// in all regions and then activates everywhere at once.
type Plan struct {
	Name  string `json:"name,omitempty"`
	About string `json:"about,omitempty"`
	// Immediate skips staging, waves and gates: all regions move at once.
	Immediate bool `json:"immediate,omitempty"`
	// Stage is when a version counts as staged in a region.
	Stage Stage `json:"stage,omitzero"`
	// Regions are groups of regions. One group after another goes through all waves; the
	// regions of a group move together. Empty means that all regions are one group.
	Regions [][]string `json:"regions,omitempty"`
	// Waves grow; the last wave is all agents. Empty means one wave of all agents.
	Waves []Wave `json:"waves,omitempty"`
	// Gates hold for every wave that has no gates of its own.
	Gates Gates `json:"gates,omitzero"`
	// OnFailure is "rollback" or "pause"; default "rollback".
	OnFailure string `json:"onFailure,omitempty"`
}

// Stage is the part before the first wave of a group.
type Stage struct {
	Skip bool `json:"skip,omitempty"`
	// Share is the share of each region's agents that must hold the version; default 99%.
	Share quantity.Percent `json:"share,omitempty"`
	// Timeout is the maximum duration; default 5 m.
	Timeout quantity.Duration `json:"timeout,omitempty"`
}

// Wave adds agents to the agents of the waves before it. An agent is in the wave if it
// carries all of Labels, or if it is in the share.
type Wave struct {
	Labels map[string]string `json:"labels,omitempty"`
	// Share is the share of all agents.
	Share quantity.Percent `json:"share,omitempty"`
	// Bake is the time for which the gates must hold before the next wave begins.
	Bake quantity.Duration `json:"bake,omitempty"`
	// Gates replace the gates of the plan; nil means the gates of the plan.
	Gates *Gates `json:"gates,omitempty"`
}

// complete returns the plan with its defaults filled in, and with gates in every wave.
func (p Plan) complete() Plan {
	orDefault(&p.Stage.Share, DefaultShare)
	orDefault(&p.Stage.Timeout, DefaultStageTimeout)
	orDefault(&p.OnFailure, FailRollback)
	p.Gates = p.Gates.complete()
	if len(p.Waves) == 0 {
		p.Waves = []Wave{{Share: 1}}
	}
	waves := make([]Wave, len(p.Waves))
	for i, w := range p.Waves {
		gates := p.Gates
		if w.Gates != nil {
			gates = w.Gates.complete()
		}
		w.Gates = &gates
		waves[i] = w
	}
	p.Waves = waves
	return p
}

// orDefault sets a zero field to value.
func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Bakes returns the sum of the bakes of all waves, for one group of regions.
func (p Plan) Bakes() time.Duration {
	sum := time.Duration(0)
	for _, w := range p.Waves {
		sum += time.Duration(w.Bake)
	}
	return sum
}

// Validate reports the first part of a plan that can't be carried out.
func (p Plan) Validate() error {
	if p.Immediate && (len(p.Waves) > 0 || len(p.Regions) > 0) {
		return invalid("immediate, with waves or groups of regions; choose one")
	}
	if err := p.validateRegions(); err != nil {
		return err
	}
	if p.OnFailure != "" && p.OnFailure != FailRollback && p.OnFailure != FailPause {
		return invalid("onFailure is %q; use rollback or pause", p.OnFailure)
	}
	if err := p.Gates.validate("gates"); err != nil {
		return err
	}
	return p.validateWaves()
}

// validateRegions reports a name that is no region, and a region in two groups.
func (p Plan) validateRegions() error {
	seen := map[string]bool{}
	for _, group := range p.Regions {
		for _, region := range group {
			if err := record.ValidateRegion(region); err != nil {
				return invalid("%s", err)
			}
			if seen[region] {
				return invalid("region %s is named twice", region)
			}
			seen[region] = true
		}
	}
	return nil
}

// validateWaves checks each wave, that shares grow, and that the last share is 100%.
func (p Plan) validateWaves() error {
	last := uint16(0)
	for i, w := range p.Waves {
		share, err := w.validate(i+1, last)
		if err != nil {
			return err
		}
		last = max(last, share)
	}
	if len(p.Waves) > 0 && last != record.WholeFleet {
		return invalid("the last wave has a share of %s; it must be 100%%", p.Waves[len(p.Waves)-1].Share)
	}
	if err := p.wave(len(p.Waves) - 1).Validate(); err != nil {
		reason := strings.TrimPrefix(err.Error(), record.ErrInvalid.Error()+": ")
		return invalid("labels of all waves together: %s", reason)
	}
	return nil
}

// validate checks the wave with a number from 1, after a wave with the share last. It
// returns the share in hundredths of a percent.
func (w Wave) validate(number int, last uint16) (uint16, error) {
	share, exact := w.Share.Hundredths()
	switch {
	case !exact:
		return 0, invalid("wave %d: a share of %s; hundredths of a percent are possible", number, w.Share)
	case share == 0 && len(w.Labels) == 0:
		return 0, invalid("wave %d has neither labels nor a share", number)
	case share != 0 && share <= last:
		return 0, invalid("wave %d: its share of %s does not grow", number, w.Share)
	case w.Bake < 0 || time.Duration(w.Bake) > maxBake:
		return 0, invalid("wave %d: a bake of %s; at most %s", number, w.Bake, maxBake)
	}
	if w.Gates == nil {
		return share, nil
	}
	return share, w.Gates.validate(waveGates(number))
}

// wave returns the wave of a pointer during wave i. It contains the waves before: after
// {labels: canary} and {share: 10%}, it is the canaries and 10% of all agents.
func (p Plan) wave(i int) record.Wave {
	var w record.Wave
	for _, next := range p.Waves[:max(i+1, 0)] {
		share, _ := next.Share.Hundredths()
		w.Share = max(w.Share, share)
		if len(next.Labels) > 0 {
			w.Any = append(w.Any, next.Labels)
		}
	}
	if w.Share == record.WholeFleet {
		w.Any = nil
	}
	return w
}

// waveIn returns the wave of a pointer during wave i in a region in which the share ends at bound.
func (p Plan) waveIn(i int, bound uint32) record.Wave {
	w := p.wave(i)
	if w.Share != 0 && w.Share != record.WholeFleet {
		w.Bound = bound
	}
	return w
}

// CheckFleet reports a region or a label in the plan that the fleet does not have. regions
// are the regions of the fleet; labels counts the agents with each label, by "key=value".
func (p Plan) CheckFleet(regions []string, labels map[string]int) error {
	for _, group := range p.Regions {
		for _, region := range group {
			if !slices.Contains(regions, region) {
				return invalid("region %q is not in the trust policy, which has %v", region, regions)
			}
		}
	}
	for i, w := range p.Waves {
		for k, v := range w.Labels {
			if labels[k+"="+v] == 0 {
				return invalid("wave %d: no agent carries the label %s=%s", i+1, k, v)
			}
		}
	}
	return nil
}
