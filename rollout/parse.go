package rollout

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"banyan/draft"
	"banyan/record"
)

//go:embed plan.schema.json
var planSchema []byte

// Schema is the JSON Schema of a plan.
func Schema() []byte { return bytes.Clone(planSchema) }

// ErrPlan is wrapped when a plan can't be carried out.
var ErrPlan = errors.New("invalid plan")

// MaxPlan is the largest plan, in bytes.
const MaxPlan = 32 << 10

// maxBake is the longest bake, and the longest time limit, of a plan.
const maxBake = 30 * 24 * time.Hour

// ParsePlan reads a plan, YAML or JSON, and checks all that can be checked without a
// fleet: its shape, its waves, its gates. Errors name the place and what would be right.
func ParsePlan(raw []byte) (Plan, error) {
	var p Plan
	if len(raw) > MaxPlan {
		return p, invalid("%d bytes, the limit is %d", len(raw), MaxPlan)
	}
	if err := draft.Check(draft.TypeYAML, raw, planSchema); err != nil {
		return p, explain(err)
	}
	var tree any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return p, invalid("%s", err)
	}
	encoded, err := json.Marshal(labelsAsText(tree))
	if err != nil {
		return p, invalid("%s", err)
	}
	if err := json.Unmarshal(encoded, &p); err != nil {
		return p, invalid("%s", err)
	}
	return p, p.Validate()
}

// explain words what the schema says of a plan.
func explain(err error) error {
	var rejection *draft.Rejection
	if !errors.As(err, &rejection) {
		return err
	}
	return invalid("%s", rejection.At())
}

// labelsAsText lets labels be written as YAML reads them: canary: true.
func labelsAsText(tree any) any {
	plan, _ := tree.(map[string]any)
	waves, _ := plan["waves"].([]any)
	for _, w := range waves {
		wave, _ := w.(map[string]any)
		labels, _ := wave["labels"].(map[string]any)
		for k, v := range labels {
			labels[k] = fmt.Sprint(v)
		}
	}
	return tree
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPlan, fmt.Sprintf(format, args...))
}

// Validate reports what a plan says that can't be done.
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
	last := uint16(0)
	for i, w := range p.Waves {
		share, exact := w.Share.Hundredths()
		switch {
		case !exact:
			return invalid("wave %d: a share of %s; hundredths of a percent are possible", i+1, w.Share)
		case share == 0 && len(w.Labels) == 0:
			return invalid("wave %d has neither labels nor a share", i+1)
		case share != 0 && share <= last:
			return invalid("wave %d: its share of %s does not grow", i+1, w.Share)
		case w.Bake < 0 || time.Duration(w.Bake) > maxBake:
			return invalid("wave %d: a bake of %s; at most %s", i+1, w.Bake, maxBake)
		}
		last = max(last, share)
		if w.Gates != nil {
			if err := w.Gates.validate(fmt.Sprintf("wave %d: gates", i+1)); err != nil {
				return err
			}
		}
	}
	if len(p.Waves) > 0 && last != record.WholeFleet {
		return invalid("the last wave has a share of %s; it must be 100%%", p.Waves[len(p.Waves)-1].Share)
	}
	if err := p.wave(len(p.Waves) - 1).Validate(); err != nil {
		return invalid("labels of all waves together: %s", strings.TrimPrefix(err.Error(), record.ErrInvalid.Error()+": "))
	}
	return nil
}

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

func (g Gates) validate(where string) error {
	if g.MinSuccess < 0 || g.MinSuccess > 1 || g.MaxFailures != nil && *g.MaxFailures < 0 {
		return invalid("%s: a share or number that is not possible", where)
	}
	for _, q := range g.Queries {
		if _, _, err := parseCondition(q.Condition); err != nil {
			return invalid("%s: query %q: %s", where, q.Query, err)
		}
	}
	names := map[string]bool{}
	for _, name := range g.names() {
		if names[name] {
			return invalid("%s: two are named %q", where, name)
		}
		names[name] = true
	}
	return nil
}

// names of the gates that are asked elsewhere.
func (g Gates) names() []string {
	var names []string
	for _, q := range g.complete().Queries {
		names = append(names, q.Name)
	}
	for _, h := range g.complete().Webhooks {
		names = append(names, h.Name)
	}
	return names
}

// wave is what a pointer says in wave i: it contains the waves before.
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

var operators = map[string]func(a, b float64) bool{
	"<": func(a, b float64) bool { return a < b }, "<=": func(a, b float64) bool { return a <= b },
	">": func(a, b float64) bool { return a > b }, ">=": func(a, b float64) bool { return a >= b },
	"==": func(a, b float64) bool { return a == b }, "!=": func(a, b float64) bool { return a != b },
}

func parseCondition(text string) (func(a, b float64) bool, float64, error) {
	n := strings.IndexFunc(text, func(r rune) bool { return !strings.ContainsRune("<>=!", r) })
	op := operators[text[:max(n, 0)]]
	bound, err := strconv.ParseFloat(strings.TrimSpace(text[max(n, 0):]), 64)
	if op == nil || err != nil {
		return nil, 0, fmt.Errorf("condition %q is none; write it as \"< 0.01\"", text)
	}
	return op, bound, nil
}

// Holds tells whether all values meet the query's condition; no value at all does not.
func (q Query) Holds(values []float64) bool {
	op, bound, err := parseCondition(q.Condition)
	if err != nil || len(values) == 0 {
		return false
	}
	return !slices.ContainsFunc(values, func(v float64) bool { return !op(v, bound) })
}

// CheckFleet refuses a plan for a fleet that lacks a region or label the plan names.
// labels are those that some agent carries, as "key=value".
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
