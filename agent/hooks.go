package agent

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"banyan/internal/quantity"
	"banyan/record"
)

// ErrHooks is wrapped by errors in a hooks file.
var ErrHooks = errors.New("invalid hooks")

// Hooks are the commands around an apply. The rule of a config is the first
// rule with a matching prefix.
type Hooks struct {
	Rules []Rule `yaml:"hooks"`
}

// Rule has the hooks for the configs at or below a prefix.
type Rule struct {
	// Config is the prefix; "*" matches every config.
	Config string  `yaml:"config"`
	Check  *Check  `yaml:"check"`
	Reload *Reload `yaml:"reload"`
	// Drift is DriftReport or DriftRepair; default DriftReport.
	Drift string `yaml:"drift"`
	// Deleted is DeletedRemove or DeletedKeep; default DeletedRemove.
	Deleted string `yaml:"deleted"`
}

// Check is a command that must exit with status 0 before a version is shown.
type Check struct {
	Command []string `yaml:"command"`
	// Timeout is at most an hour; default 30 s.
	Timeout quantity.Duration `yaml:"timeout"`
}

// Reload is run after a version is shown. Exactly one of Command, Signal and Systemd is set.
type Reload struct {
	Command []string `yaml:"command"`
	Signal  *Signal  `yaml:"signal"`
	// Systemd is the unit for systemctl reload-or-restart.
	Systemd string `yaml:"systemd"`
	// Timeout is at most an hour; default 30 s.
	Timeout quantity.Duration `yaml:"timeout"`
}

// Signal is sent to the process with the id in a file.
type Signal struct {
	PIDFile string `yaml:"pidFile"`
	// Signal is a name with or without "SIG"; default HUP.
	Signal string `yaml:"signal"`
}

// Values of Rule.Drift.
const (
	DriftReport = "report" // tell the coordinator
	DriftRepair = "repair" // tell the coordinator and apply the version again
)

// Values of Rule.Deleted: what becomes of the file of a config that is deleted.
const (
	DeletedRemove = "remove" // programs find no file any more
	DeletedKeep   = "keep"   // the file stays as it is, and is no longer watched
)

// signals are the possible signals of a hook.
var signals = map[string]syscall.Signal{
	"HUP":   syscall.SIGHUP,
	"INT":   syscall.SIGINT,
	"TERM":  syscall.SIGTERM,
	"USR1":  syscall.SIGUSR1,
	"USR2":  syscall.SIGUSR2,
	"WINCH": syscall.SIGWINCH,
}

// ParseHooks reads a hooks file. The errors wrap ErrHooks, or record.ErrTooLarge for a file
// over 1 MiB.
func ParseHooks(raw []byte) (*Hooks, error) {
	if len(raw) > maxHooksFile {
		return nil, fmt.Errorf("%w: hooks of %d bytes, the limit is %d", record.ErrTooLarge, len(raw), maxHooksFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	h := &Hooks{}
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrHooks, err)
	}
	return h, h.complete()
}

// NewHooks makes hooks of rules. The errors wrap ErrHooks.
func NewHooks(rules ...Rule) (*Hooks, error) {
	h := &Hooks{Rules: rules}
	return h, h.complete()
}

// complete checks the rules and sets defaults.
func (h *Hooks) complete() error {
	if len(h.Rules) > maxRules {
		return fmt.Errorf("%w: %d rules, the limit is %d", ErrHooks, len(h.Rules), maxRules)
	}
	for i := range h.Rules {
		if err := h.Rules[i].complete(); err != nil {
			return fmt.Errorf("%w: rule %d, for config %q: %w", ErrHooks, i+1, h.Rules[i].Config, err)
		}
	}
	return nil
}

// rule returns the rule of config; nil if no rule matches.
func (h *Hooks) rule(config string) *Rule {
	if h == nil {
		return nil
	}
	i := slices.IndexFunc(h.Rules, func(r Rule) bool {
		return r.Config == "*" || record.InScope(config, r.Config)
	})
	if i < 0 {
		return nil
	}
	return &h.Rules[i]
}

// repairs reports whether drift of config is repaired.
func (h *Hooks) repairs(config string) bool {
	r := h.rule(config)
	return r != nil && r.Drift == DriftRepair
}

// keepsDeleted reports whether the file of config stays when config is deleted.
func (h *Hooks) keepsDeleted(config string) bool {
	r := h.rule(config)
	return r != nil && r.Deleted == DeletedKeep
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
	if r.Deleted == "" {
		r.Deleted = DeletedRemove
	}
	if r.Deleted != DeletedRemove && r.Deleted != DeletedKeep {
		return fmt.Errorf("deleted is %q; use remove or keep", r.Deleted)
	}
	if r.Check != nil {
		if len(r.Check.Command) == 0 {
			return errors.New("check: command is required")
		}
		if err := completeTimeout(&r.Check.Timeout); err != nil {
			return fmt.Errorf("check: %w", err)
		}
	}
	if r.Reload != nil {
		if err := r.Reload.complete(); err != nil {
			return fmt.Errorf("reload: %w", err)
		}
	}
	return nil
}

func (r *Reload) complete() error {
	ways := 0
	for _, given := range []bool{len(r.Command) > 0, r.Signal != nil, r.Systemd != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("give one of command, signal and systemd")
	}
	if r.Signal != nil {
		if err := r.Signal.complete(); err != nil {
			return err
		}
	}
	return completeTimeout(&r.Timeout)
}

func (s *Signal) complete() error {
	if s.PIDFile == "" {
		return errors.New("signal: pidFile is required")
	}
	if s.Signal == "" {
		s.Signal = "HUP"
	}
	if _, ok := signals[strings.TrimPrefix(s.Signal, "SIG")]; !ok {
		return fmt.Errorf("signal %q; use HUP, INT, TERM, USR1, USR2 or WINCH", s.Signal)
	}
	return nil
}

// completeTimeout checks a timeout and sets the default.
func completeTimeout(d *quantity.Duration) error {
	if *d == 0 {
		*d = hookTimeout
	}
	if *d < 0 || *d > maxHookTimeout {
		return fmt.Errorf("timeout of %s; the limit is %s", *d, maxHookTimeout)
	}
	return nil
}
