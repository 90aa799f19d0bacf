package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

const (
	// kindPlan is the kind of the documents that hold the texts of plans, by plan name.
	kindPlan = "plan"
	// kindDefault is the kind of the documents that hold the name of the default plan, by
	// prefix of configs.
	kindDefault = "plan-default"
	// anyConfig is the prefix of all configs.
	anyConfig = "*"
)

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// plans are the stored plans and the default plans.
type plans struct {
	ledger  *ledger.Ledger
	tracker *tracker
	policy  *record.Policy
}

// forRollout returns the plan of a rollout of config: the plan in the request, the plan
// that the request names, the default plan of the longest prefix, or the zero Plan.
func (p *plans) forRollout(ctx context.Context, config string, in api.StartRollout) (rollout.Plan, error) {
	switch {
	case in.Immediate && (in.Plan != "" || in.PlanName != ""):
		return rollout.Plan{}, fmt.Errorf("%w: the request is immediate and has a plan; choose one",
			errRequest)
	case in.Immediate:
		return rollout.Plan{Immediate: true}, nil
	case in.Plan != "":
		return rollout.ParsePlan([]byte(in.Plan))
	case in.PlanName != "":
		return p.named(ctx, in.PlanName)
	}
	return p.defaultOf(ctx, config)
}

// defaultOf returns the default plan of the longest prefix of config. For "a/b" it looks at
// "a/b", "a" and "*".
func (p *plans) defaultOf(ctx context.Context, config string) (rollout.Plan, error) {
	for prefix := config; ; {
		d, err := p.ledger.Document(ctx, kindDefault, prefix)
		if err == nil {
			return p.named(ctx, string(d.Raw))
		}
		if !errors.Is(err, versionstore.ErrNotFound) {
			return rollout.Plan{}, err
		}
		if prefix == anyConfig {
			return rollout.Plan{}, nil
		}
		slash := strings.LastIndexByte(prefix, '/')
		if slash < 0 {
			prefix = anyConfig
		} else {
			prefix = prefix[:slash]
		}
	}
}

// named returns a stored plan.
func (p *plans) named(ctx context.Context, name string) (rollout.Plan, error) {
	d, err := p.ledger.Document(ctx, kindPlan, name)
	if isNotFound(err) {
		return rollout.Plan{}, noPlan(name)
	}
	if err != nil {
		return rollout.Plan{}, err
	}
	plan, err := rollout.ParsePlan(d.Raw)
	if err != nil {
		return plan, fmt.Errorf("stored plan %s: %w", name, err)
	}
	plan.Name = name
	return plan, nil
}

// parse reads a plan and checks that the fleet has its regions and labels.
func (p *plans) parse(text []byte) (rollout.Plan, error) {
	plan, err := rollout.ParsePlan(text)
	if err != nil {
		return plan, err
	}
	return plan, p.checkFleet(plan)
}

// checkFleet refuses a plan with a region or a label that the fleet does not have.
func (p *plans) checkFleet(plan rollout.Plan) error {
	return plan.CheckFleet(p.policy.Regions(), p.tracker.labels())
}

// all returns the documents of the plans and of the defaults.
func (p *plans) all(ctx context.Context) (texts, defaults []versionstore.Document, err error) {
	texts, err = versionstore.ListAll(ctx, p.ledger, kindPlan, "")
	if err != nil {
		return nil, nil, err
	}
	defaults, err = versionstore.ListAll(ctx, p.ledger, kindDefault, "")
	return texts, defaults, err
}

// put stores a plan under a name.
func (p *plans) put(ctx context.Context, name string, text []byte, by string) error {
	if _, err := p.parse(text); err != nil {
		return err
	}
	if err := p.checkRoom(ctx, kindPlan, name); err != nil {
		return err
	}
	act := ledger.Act{By: by, What: "plan " + name + " stored"}
	return p.ledger.ReplaceDocument(ctx, act, kindPlan, name, text)
}

// remove removes a plan, unless it is a default.
func (p *plans) remove(ctx context.Context, name, by string) error {
	_, defaults, err := p.all(ctx)
	if err != nil {
		return err
	}
	for _, d := range defaults {
		if string(d.Raw) == name {
			return &api.Error{
				Code:    api.CodeRejected,
				Message: fmt.Sprintf("plan %s is the default of %s", name, d.Name),
				Hint:    "give that prefix another default first, or none",
			}
		}
	}
	act := ledger.Act{By: by, What: "plan " + name + " deleted"}
	err = p.ledger.RemoveDocument(ctx, act, kindPlan, name)
	if isNotFound(err) {
		return noPlan(name)
	}
	return err
}

// noPlan returns the error for a plan that is not stored.
func noPlan(name string) error {
	return &api.Error{
		Code:    api.CodeNotFound,
		Message: fmt.Sprintf("there is no plan %q", name),
		Hint:    "'banyan plan list' lists the stored plans",
	}
}

// setDefault makes a stored plan the default of a prefix. An empty name removes the default.
func (p *plans) setDefault(ctx context.Context, in api.PlanDefault, by string) error {
	if in.Prefix != anyConfig {
		if err := record.ValidateConfig(in.Prefix); err != nil {
			return err
		}
	}
	act := ledger.Act{By: by, What: fmt.Sprintf("default plan of %s: %s", in.Prefix, cmp.Or(in.Plan, "none"))}
	if in.Prefix != anyConfig {
		act.Config = in.Prefix
	}
	if in.Plan == "" {
		err := p.ledger.RemoveDocument(ctx, act, kindDefault, in.Prefix)
		if isNotFound(err) {
			return notFoundf("%s has no default plan", in.Prefix)
		}
		return err
	}
	if _, err := p.named(ctx, in.Plan); err != nil {
		return err
	}
	if err := p.checkRoom(ctx, kindDefault, in.Prefix); err != nil {
		return err
	}
	return p.ledger.ReplaceDocument(ctx, act, kindDefault, in.Prefix, []byte(in.Plan))
}

// checkRoom refuses a new document of a kind beyond maxPlans.
func (p *plans) checkRoom(ctx context.Context, kind, name string) error {
	held, err := versionstore.ListAll(ctx, p.ledger, kind, "")
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(held, func(d versionstore.Document) bool { return d.Name == name })
	if known || len(held) < maxPlans {
		return nil
	}
	return &api.Error{
		Code:    api.CodeRejected,
		Message: fmt.Sprintf("%d plans or defaults are stored, which is the limit", len(held)),
		Hint:    "delete some first",
	}
}
