package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"banyan/internal/hook"
	"banyan/internal/quantity"
	"banyan/record"
)

// Hooks are what a host does of its own about configs: the first rule that matches one is
// its rule.
type Hooks struct {
	Rules []Rule `yaml:"hooks"`
}

// Rule is what is done about the configs below a prefix.
type Rule struct {
	Config string  `yaml:"config"` // a prefix; "*" for all
	Check  *Check  `yaml:"check"`
	Reload *Reload `yaml:"reload"`
	Drift  string  `yaml:"drift"` // "report" (default) or "repair"
}

// Check is a command that must end with status 0 before a version is shown.
type Check struct {
	Command []string          `yaml:"command"`
	Timeout quantity.Duration `yaml:"timeout"` // default 30s
}

// Reload is what is done after a version is shown: one of the three.
type Reload struct {
	Command []string          `yaml:"command"`
	Signal  *Signal           `yaml:"signal"`
	Systemd string            `yaml:"systemd"` // a unit, for systemctl reload-or-restart
	Timeout quantity.Duration `yaml:"timeout"` // default 30s
}

// Signal is sent to the process whose id is in a file.
type Signal struct {
	PIDFile string `yaml:"pidFile"`
	Signal  string `yaml:"signal"` // default HUP
}

// Limits of hooks.
const (
	maxHooksFile   = 1 << 20
	maxRules       = 1000
	hookTimeout    = quantity.Duration(30 * time.Second)
	maxHookTimeout = quantity.Duration(time.Hour)
	// hooksAtOnce is how many configs' hooks run at a time.
	hooksAtOnce = 8
)

// What a rule says about drift.
const (
	DriftReport = "report"
	DriftRepair = "repair"
)

// ParseHooks reads a hooks file.
func ParseHooks(raw []byte) (*Hooks, error) {
	if len(raw) > maxHooksFile {
		return nil, fmt.Errorf("%w: hooks of %d bytes, the limit is %d", record.ErrTooLarge, len(raw), maxHooksFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	h := &Hooks{}
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("%w: hooks: %s", record.ErrInvalid, err)
	}
	return h, h.complete()
}

// NewHooks makes hooks of rules.
func NewHooks(rules ...Rule) (*Hooks, error) {
	h := &Hooks{Rules: rules}
	return h, h.complete()
}

// complete checks the rules and fills in what they leave open.
func (h *Hooks) complete() error {
	if len(h.Rules) > maxRules {
		return fmt.Errorf("%w: %d rules of hooks, the limit is %d", record.ErrInvalid, len(h.Rules), maxRules)
	}
	for i := range h.Rules {
		if err := h.Rules[i].complete(); err != nil {
			return fmt.Errorf("%w: hooks: rule %d, for %q: %w", record.ErrInvalid, i+1, h.Rules[i].Config, err)
		}
	}
	return nil
}

func (r *Rule) complete() error {
	if r.Config != "*" {
		if err := record.ValidateConfig(r.Config); err != nil {
			return err
		}
	}
	if r.Drift == "" {
		r.Drift = DriftReport
	}
	if r.Drift != DriftReport && r.Drift != DriftRepair {
		return fmt.Errorf("drift is %q; use report or repair", r.Drift)
	}
	if r.Check != nil {
		if len(r.Check.Command) == 0 {
			return errors.New("a check needs a command")
		}
		if err := checkTimeout(&r.Check.Timeout); err != nil {
			return err
		}
	}
	if r.Reload == nil {
		return nil
	}
	ways := 0
	for _, given := range []bool{len(r.Reload.Command) > 0, r.Reload.Signal != nil, r.Reload.Systemd != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("a reload is one of command, signal and systemd")
	}
	if s := r.Reload.Signal; s != nil {
		if s.PIDFile == "" {
			return errors.New("a signal needs a pidFile")
		}
		if s.Signal == "" {
			s.Signal = "HUP"
		}
		if _, ok := signals[strings.TrimPrefix(s.Signal, "SIG")]; !ok {
			return fmt.Errorf("signal %q; use HUP, INT, TERM, USR1, USR2 or WINCH", s.Signal)
		}
	}
	return checkTimeout(&r.Reload.Timeout)
}

func checkTimeout(d *quantity.Duration) error {
	if *d == 0 {
		*d = hookTimeout
	}
	if *d < 0 || *d > maxHookTimeout {
		return fmt.Errorf("a timeout of %s; at most %s", *d, maxHookTimeout)
	}
	return nil
}

var signals = map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1,
	"USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH}

// rule finds the rule of a config; nil if there is none.
func (h *Hooks) rule(config string) *Rule {
	if h == nil {
		return nil
	}
	i := slices.IndexFunc(h.Rules, func(r Rule) bool { return r.Config == "*" || record.InScope(config, r.Config) })
	if i < 0 {
		return nil
	}
	return &h.Rules[i]
}

// errSuperseded ends hooks of a version that is to be run no more.
var errSuperseded = errors.New("a newer pointer came")

// hooked runs activations of configs that have hooks: check, then the swap, then reload.
// One at a time of each config; a newer pointer to another version ends it.
type hooked struct {
	agent *Agent
	slots chan struct{}

	mu      sync.Mutex
	running map[string]*hookRun // by config; guarded by mu
	redo    map[string]bool     // configs whose file was repaired: their hooks run for the same version; guarded by mu
}

type hookRun struct {
	version uint64
	cancel  context.CancelCauseFunc
}

func newHooked(a *Agent) *hooked {
	return &hooked{agent: a, slots: make(chan struct{}, hooksAtOnce), running: map[string]*hookRun{}, redo: map[string]bool{}}
}

// concerns returns the rule that an activation is to follow; nil if nothing changes for
// the config's readers, or no rule matches.
func (h *hooked) concerns(act activation) *Rule {
	config := act.announcement.Pointer.Config
	rule := h.agent.cfg.Hooks.rule(config)
	if rule == nil || rule.Check == nil && rule.Reload == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	shown, _ := h.agent.Applied(config)
	if act.version == shown.Version && !shown.Pending && !h.redo[config] {
		return nil
	}
	return rule
}

// start runs an activation that a rule concerns.
func (h *hooked) start(act activation, rule *Rule) {
	config := act.announcement.Pointer.Config
	ctx, cancel := context.WithCancelCause(h.agent.ctx)
	h.mu.Lock()
	h.running[config] = &hookRun{act.version, cancel}
	delete(h.redo, config)
	h.mu.Unlock()
	h.agent.group.Go(func() {
		defer cancel(nil)
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
		case <-ctx.Done():
		}
		err := h.run(ctx, act, rule)
		h.mu.Lock()
		delete(h.running, config)
		h.mu.Unlock()
		h.agent.applier.finish(act, err)
	})
}

// supersede ends the hooks of a config whose newest pointer wants another version.
func (h *hooked) supersede(p *record.Pointer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.running[p.Config]; r != nil && p.VersionFor(h.agent.Name(), h.agent.cfg.Labels) != r.version {
		r.cancel(errSuperseded)
	}
}

func (h *hooked) run(ctx context.Context, act activation, rule *Rule) error {
	before, _ := h.agent.Applied(act.announcement.Pointer.Config)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := h.check(ctx, act, rule, before); err != nil {
		return err
	}
	act.pending = rule.Reload != nil
	if err := h.agent.applier.swap(act); err != nil {
		return err
	}
	if rule.Reload == nil {
		return nil
	}
	if err := h.reload(ctx, act, rule.Reload, before); err != nil {
		return err
	}
	act.pending = false
	return h.agent.applier.swap(act)
}

// check runs a rule's check of a version that has not passed it here before.
func (h *hooked) check(ctx context.Context, act activation, rule *Rule, before Applied) error {
	v := record.VersionKey{Config: act.announcement.Pointer.Config, Version: act.version}
	if rule.Check == nil || v.Version == 0 || h.agent.tree.passed(v, rule.Check.Command) {
		return nil
	}
	path := filepath.Join(h.agent.tree.versionPath(v), valueFile)
	if err := h.command(ctx, "check", rule.Check.Command, time.Duration(rule.Check.Timeout), act, path, before, true); err != nil {
		return err
	}
	return h.agent.tree.pass(v, rule.Check.Command)
}

func (h *hooked) reload(ctx context.Context, act activation, r *Reload, before Applied) error {
	path := filepath.Join(h.agent.tree.dir(act.announcement.Pointer.Config), valueFile)
	switch {
	case r.Signal != nil:
		return sendSignal(r.Signal)
	case r.Systemd != "":
		return h.command(ctx, "reload", []string{"systemctl", "reload-or-restart", r.Systemd}, time.Duration(r.Timeout), act, path, before, false)
	}
	return h.command(ctx, "reload", r.Command, time.Duration(r.Timeout), act, path, before, false)
}

// command runs a hook's command and makes of how it fails what is reported.
func (h *hooked) command(ctx context.Context, name string, args []string, timeout time.Duration, act activation, path string, before Applied, alone bool) error {
	p := act.announcement.Pointer
	previous := ""
	if before.Version != 0 {
		previous = filepath.Join(h.agent.tree.versionPath(record.VersionKey{Config: p.Config, Version: before.Version}), valueFile)
	}
	version, epoch := strconv.FormatUint(act.version, 10), strconv.FormatUint(p.Epoch, 10)
	fill := strings.NewReplacer("{path}", path, "{config}", p.Config, "{version}", version, "{epoch}", epoch, "{previous}", previous)
	filled := make([]string, len(args))
	for i, arg := range args {
		filled[i] = fill.Replace(arg)
	}
	began := time.Now()
	output, err := hook.Run(ctx, hook.Command{Args: filled, Timeout: timeout, Alone: alone, Env: []string{
		"BANYAN_HOOK=" + name, "BANYAN_CONFIG=" + p.Config, "BANYAN_VERSION=" + version, "BANYAN_EPOCH=" + epoch, "BANYAN_REGION=" + p.Region,
		"BANYAN_AGENT=" + h.agent.Name(), "BANYAN_PATH=" + path, "BANYAN_PREVIOUS_PATH=" + previous,
		"BANYAN_PREVIOUS_VERSION=" + strconv.FormatUint(before.Version, 10)}})
	h.agent.metrics.hook(name, time.Since(began), err)
	h.agent.log.Info("hook", "hook", name, "config", p.Config, "version", act.version, "epoch", p.Epoch, "took", time.Since(began), "error", err, "output", output)
	if err == nil {
		return nil
	}
	if output = strings.TrimSpace(output); output != "" {
		return fmt.Errorf("%s: %w: %s", name, err, strings.ReplaceAll(output, "\n", "; ")) // one line for lists
	}
	return fmt.Errorf("%s: %w", name, err)
}

func sendSignal(s *Signal) error {
	raw, err := os.ReadFile(s.PIDFile)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("reload: %s holds %.20q, which is no process id", s.PIDFile, raw)
	}
	if err := syscall.Kill(pid, signals[strings.TrimPrefix(s.Signal, "SIG")]); err != nil {
		return fmt.Errorf("reload: signal %s to process %d of %s: %w", s.Signal, pid, s.PIDFile, err)
	}
	return nil
}
