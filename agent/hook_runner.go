package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"banyan/internal/hook"
	"banyan/record"
)

// errSuperseded ends the hooks of a version when a newer pointer wants another version.
var errSuperseded = errors.New("a newer pointer came")

// hookError is the failure of a hook, which counts against the version.
type hookError struct{ err error }

func (e *hookError) Error() string { return e.err.Error() }
func (e *hookError) Unwrap() error { return e.err }

// hookRunner runs the activations of configs with hooks: the check, then the swap, then
// the reload. A config has at most one running activation.
type hookRunner struct {
	rules   *Hooks
	agent   string            // name of the agent
	labels  map[string]string // of the agent
	output  *outputDir
	applied *appliedSet
	applier *applier
	metrics *agentMetrics
	log     *slog.Logger

	slots chan struct{} // a slot for each config with running hooks
	group sync.WaitGroup

	mu      sync.Mutex
	running map[string]*hookRun // by config; guarded by mu
	// again has the configs with a repaired file. Their hooks run at the next activation even if
	// the version stays the same. The map is guarded by mu.
	again map[string]bool
}

// hookRun is an activation with running hooks.
type hookRun struct {
	version record.Ref
	cancel  context.CancelCauseFunc
}

// ruleFor returns the rule with the hooks for an activation; nil if no rule has hooks for
// the config, or if the shown version stays the same.
func (h *hookRunner) ruleFor(act activation) *Rule {
	config := act.config()
	rule := h.rules.rule(config)
	if rule == nil || rule.Check == nil && rule.Reload == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	shown, _ := h.applied.get(config)
	if act.version == shown.Key().Ref() && !shown.Pending && !h.again[config] {
		return nil
	}
	return rule
}

// start runs an activation and its hooks in a goroutine.
func (h *hookRunner) start(ctx context.Context, act activation, rule *Rule) {
	config := act.config()
	ctx, cancel := context.WithCancelCause(ctx)
	h.mu.Lock()
	h.running[config] = &hookRun{act.version, cancel}
	delete(h.again, config)
	h.mu.Unlock()
	h.group.Go(func() {
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
		h.applier.finish(act, err)
	})
}

// supersede ends the running hooks of a config whose newest pointer wants another version.
func (h *hookRunner) supersede(p *record.Pointer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.running[p.Config]; r != nil && p.VersionFor(h.agent, h.labels) != r.version {
		r.cancel(errSuperseded)
	}
}

// repeat makes the hooks of config run at the next activation, even if the version stays the
// same.
func (h *hookRunner) repeat(config string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.again[config] = true
}

// busy reports whether hooks of config are running.
func (h *hookRunner) busy(config string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running[config] != nil
}

// wait returns when no hook runs any more.
func (h *hookRunner) wait() { h.group.Wait() }

func (h *hookRunner) run(ctx context.Context, act activation, rule *Rule) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	before, _ := h.applied.get(act.config())
	if err := h.check(ctx, act, rule.Check, before); err != nil {
		return err
	}
	// The row is committed as pending, so after a crash during the reload, the reload runs again.
	act.pending = rule.Reload != nil
	if err := h.applier.swap(act); err != nil {
		return err
	}
	if rule.Reload == nil {
		return nil
	}
	if err := h.reload(ctx, act, rule.Reload, before); err != nil {
		return err
	}
	act.pending = false
	return h.applier.swap(act)
}

// check runs the check of a version, unless the version has passed on this host before.
func (h *hookRunner) check(ctx context.Context, act activation, check *Check, before Applied) error {
	dir := h.output.version(act.key())
	if check == nil || act.version.IsZero() || dir.passed(check.Command) {
		return nil
	}
	c := hookCommand{
		hook:     "check",
		args:     check.Command,
		timeout:  time.Duration(check.Timeout),
		path:     dir.value(),
		isolated: true,
	}
	if err := h.applier.verify(act); err != nil {
		return err
	}
	if err := h.command(ctx, c, act, before); err != nil {
		return err
	}
	if err := h.applier.verify(act); err != nil {
		return &hookError{fmt.Errorf("check: the command changed the file that it checks: %w", err)}
	}
	if err := dir.setPassed(check.Command); err != nil {
		h.log.Warn("a passed check is not remembered, and runs again", "config", act.config(),
			"version", act.version, "error", err)
	}
	return nil
}

func (h *hookRunner) reload(ctx context.Context, act activation, r *Reload, before Applied) error {
	if r.Signal != nil {
		if err := r.Signal.send(); err != nil {
			return &hookError{err}
		}
		return nil
	}
	c := hookCommand{
		hook:    "reload",
		args:    r.Command,
		timeout: time.Duration(r.Timeout),
		path:    h.output.config(act.config()).value(),
	}
	if r.Systemd != "" {
		c.args = []string{"systemctl", "reload-or-restart", r.Systemd}
	}
	return h.command(ctx, c, act, before)
}

// hookCommand is the command of a hook.
type hookCommand struct {
	hook    string // "check" or "reload"
	args    []string
	timeout time.Duration
	path    string // the file for the command
	// isolated is set if no process may outlive the command.
	isolated bool
}

// command runs a hook's command. The error is a line with the output of the command.
func (h *hookRunner) command(ctx context.Context, c hookCommand, act activation, before Applied) error {
	p := act.announcement.Pointer
	previous := ""
	if before.Version != 0 {
		previous = h.output.version(before.Key()).value()
	}
	version := strconv.FormatUint(act.version.Version, 10)
	epoch := strconv.FormatUint(p.Epoch, 10)
	placeholders := strings.NewReplacer(
		"{path}", c.path,
		"{config}", p.Config,
		"{version}", version,
		"{epoch}", epoch,
		"{previous}", previous,
	)
	args := make([]string, len(c.args))
	for i, arg := range c.args {
		args[i] = placeholders.Replace(arg)
	}
	began := time.Now()
	output, err := hook.Run(ctx, hook.Command{
		Args:     args,
		Timeout:  c.timeout,
		Isolated: c.isolated,
		Env: []string{
			"BANYAN_HOOK=" + c.hook,
			"BANYAN_CONFIG=" + p.Config,
			"BANYAN_VERSION=" + version,
			"BANYAN_EPOCH=" + epoch,
			"BANYAN_REGION=" + p.Region,
			"BANYAN_AGENT=" + h.agent,
			"BANYAN_PATH=" + c.path,
			"BANYAN_PREVIOUS_PATH=" + previous,
			"BANYAN_PREVIOUS_VERSION=" + strconv.FormatUint(before.Version, 10),
		},
	})
	took := time.Since(began)
	h.metrics.hook(c.hook, took, err)
	h.log.Info("hook", "hook", c.hook, "config", p.Config, "version", act.version.Version, "epoch", p.Epoch,
		"took", took, "error", err, "output", output)
	if err == nil {
		return nil
	}
	output = strings.TrimSpace(output)
	if output == "" {
		return &hookError{fmt.Errorf("%s: %w", c.hook, err)}
	}
	return &hookError{fmt.Errorf("%s: %w: %s", c.hook, err, strings.ReplaceAll(output, "\n", "; "))}
}

// send sends the signal to the process with the id in the file.
func (s *Signal) send() error {
	raw, err := os.ReadFile(s.PIDFile)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("reload: %s holds %.20q, which is not a process id", s.PIDFile, raw)
	}
	if err := syscall.Kill(pid, signals[strings.TrimPrefix(s.Signal, "SIG")]); err != nil {
		return fmt.Errorf("reload: signal %s to process %d of %s: %w", s.Signal, pid, s.PIDFile, err)
	}
	return nil
}
