package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/rollout"
)

// planFlags are the flags that choose a rollout plan: a file, a stored plan's name, or flags
// that state a plan.
type planFlags struct {
	file, name, message string
	immediate           bool
	regions             []string

	changed               func(flag string) bool
	waves                 []string
	stageShare, success   quantity.Percent
	gone, unheard         quantity.Percent
	maxFailures           int
	skew, timeout, staged time.Duration
	onFailure             string
}

// planShape lists the flags that state a plan.
var planShape = []string{
	"wave", "stage-share", "stage-timeout", "min-success", "max-failures",
	"max-gone", "max-unheard", "max-skew", "wave-timeout", "on-failure",
}

func (p *planFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	p.changed = f.Changed
	f.StringVar(&p.file, "plan", "", "`FILE` of a rollout plan (default the config's default plan)")
	f.StringVar(&p.name, "plan-name", "", "`NAME` of a stored plan")
	f.BoolVar(&p.immediate, "immediate", false, "for emergencies: no staging, no waves, no gates")
	f.StringSliceVar(&p.regions, "region", nil,
		"`REGION` to roll out to; may be repeated (default the regions of the plan, or all)")
	f.StringArrayVar(&p.waves, "wave", nil,
		"a `WAVE`: a share or labels, and the bake time, as 1%:10m or canary=true,zone=a:5m; may be repeated; the last wave is 100%")
	textVar(f, &p.stageShare, "stage-share", "0%",
		"share of each region's hosts that must have fetched the version before it goes live (default 99%)")
	f.DurationVar(&p.staged, "stage-timeout", 0, "`TIME` for fetching the version (default 5m)")
	textVar(f, &p.success, "min-success", "0%",
		"share of a wave's hosts in each region that must run the version (default 99%)")
	f.IntVar(&p.maxFailures, "max-failures", 0,
		"at most `N` hosts may fail (default as many as --min-success allows)")
	textVar(f, &p.gone, "max-gone", "0%",
		"share of a region's hosts, and of its hosts in the wave, that may leave during the wave (default 10%)")
	textVar(f, &p.unheard, "max-unheard", "0%",
		"share of a region's hosts in the inventory that need not be heard of; 0% means that every host must be "+
			"(default 10%, at least one host, never all)")
	f.DurationVar(&p.skew, "max-skew", 0,
		"longest `TIME` between a region's first and last host (default no limit)")
	f.DurationVar(&p.timeout, "wave-timeout", 0,
		"`TIME` for the hosts of a wave to apply the version (default 2m)")
	f.StringVar(&p.onFailure, "on-failure", "",
		"`ACTION` when a gate fails: rollback or pause (default rollback)")
	positive(f, "stage-share", "stage-timeout", "min-success", "max-gone", "max-skew", "wave-timeout")
	notNegative(f, "max-failures")
}

// given reports whether a flag of the plan was given.
func (p *planFlags) given() bool {
	flags := append([]string{"plan", "plan-name", "immediate", "region"}, planShape...)
	return slices.ContainsFunc(flags, p.changed)
}

// request returns the request for the rollout of a version.
func (p *planFlags) request(a *app, version uint64) (api.StartRollout, error) {
	in := api.StartRollout{
		Version:   version,
		Regions:   p.regions,
		PlanName:  p.name,
		Immediate: p.immediate,
		Message:   p.message,
	}
	shaped := slices.ContainsFunc(planShape, p.changed)
	ways := 0
	for _, given := range []bool{p.file != "", p.name != "", p.immediate, shaped} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return in, usagef("--plan, --plan-name, --immediate and the flags that state a plan exclude each other; choose one")
	}
	switch {
	case p.file != "":
		raw, err := a.readArgument(p.file, rollout.MaxPlan)
		if err != nil {
			return in, fmt.Errorf("plan: %w", err)
		}
		if _, err := rollout.ParsePlan(raw); err != nil {
			return in, fmt.Errorf("%s: %w", nameOf(p.file), err)
		}
		in.Plan = string(raw)
	case shaped:
		plan, err := p.plan()
		if err != nil {
			return in, err
		}
		raw, err := json.Marshal(plan)
		if err != nil {
			return in, err
		}
		if _, err := rollout.ParsePlan(raw); err != nil {
			return in, usagef("the flags do not state a valid plan: %w", err)
		}
		in.Plan = string(raw)
	}
	return in, nil
}

// plan returns the plan that the flags state.
func (p *planFlags) plan() (rollout.Plan, error) {
	plan := rollout.Plan{
		OnFailure: p.onFailure,
		Stage:     rollout.Stage{Share: p.stageShare, Timeout: quantity.Duration(p.staged)},
		Gates: rollout.Gates{
			MinSuccess: p.success,
			MaxGone:    p.gone,
			MaxSkew:    quantity.Duration(p.skew),
			Timeout:    quantity.Duration(p.timeout),
		},
	}
	if p.changed("max-failures") {
		plan.Gates.MaxFailures = &p.maxFailures
	}
	if p.changed("max-unheard") {
		plan.Gates.MaxUnheard = &p.unheard
	}
	for _, text := range p.waves {
		wave, err := parseWave(text)
		if err != nil {
			return plan, err
		}
		plan.Waves = append(plan.Waves, wave)
	}
	return plan, nil
}

// parseWave parses the value of --wave.
func parseWave(text string) (w rollout.Wave, err error) {
	who, bake, baked := strings.Cut(text, ":")
	if baked {
		if err := w.Bake.UnmarshalText([]byte(bake)); err != nil {
			return w, usagef("--wave %s: %q is not a duration such as 10m", text, bake)
		}
	}
	if !strings.Contains(who, "=") {
		if err := w.Share.UnmarshalText([]byte(who)); err != nil {
			return w, usagef("--wave %s: %q is neither a share such as 1%% nor labels such as canary=true", text, who)
		}
		if w.Share == 0 {
			return w, usagef("--wave %s: a share of 0%% has no host; leave the wave out, or state labels such as canary=true", text)
		}
		return w, nil
	}
	w.Labels = map[string]string{}
	for _, label := range strings.Split(who, ",") {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return w, usagef("--wave %s: %q is not a label such as canary=true", text, label)
		}
		w.Labels[key] = value
	}
	return w, nil
}
