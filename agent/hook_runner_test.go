package agent

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// shell is a command of a hook.
func shell(format string, args ...any) []string {
	return []string{"/bin/sh", "-c", fmt.Sprintf(format, args...)}
}

// startWith starts an agent with one rule for every config.
func startWith(h *host, rule Rule) (a *Agent, stop func()) {
	h.t.Helper()
	rule.Config = "*"
	hooks, err := NewHooks(rule)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.start(func(c *Config) { c.Hooks = hooks })
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

func TestACheckDecidesAndAReloadFollows(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(h.dir, "log")
	a, _ := startWith(h, Rule{
		Check:  &Check{Command: shell(`echo check $BANYAN_VERSION after $BANYAN_PREVIOUS_VERSION >> %s; ! grep -q bad {path}`, log)},
		Reload: &Reload{Command: shell(`echo reload {version} $(cat {path}) >> %s`, log)},
	})
	h.run(a, "a", 1, "good")
	if got := read(t, log); got != "check 1 after 0\nreload 1 good\n" {
		t.Errorf("hooks: %q", got)
	}
	if err := h.store(a, "a", 2, "bad"); err != nil {
		t.Fatal(err)
	}
	if err := h.activate(a, "a", 2, 2); err == nil || !strings.Contains(err.Error(), "check: exit status 1") {
		t.Errorf("a version that fails its check: %v", err)
	}
	if h.shows("a") != "good" {
		t.Errorf("after a failed check, a shows %q", h.shows("a"))
	}
	h.run(a, "a", 3, "better")
	// A rollback to a version that has passed is not checked again, but it is reloaded.
	if err := h.activate(a, "a", 4, 1); err != nil {
		t.Fatal(err)
	}
	// An epoch that changes nothing for this host runs no hook.
	if err := h.activate(a, "a", 5, 1); err != nil {
		t.Fatal(err)
	}
	want := "check 1 after 0\nreload 1 good\ncheck 2 after 1\ncheck 3 after 1\nreload 3 better\nreload 1 good\n"
	if got := read(t, log); got != want {
		t.Errorf("hooks:\n%s\nwant:\n%s", got, want)
	}
}

func TestAReloadThatFailsIsRunAgainAfterARestart(t *testing.T) {
	h := newHost(t)
	allowed := filepath.Join(h.dir, "allowed")
	rule := Rule{Reload: &Reload{Command: shell("echo not yet; test -e %s", allowed)}}
	a, stop := startWith(h, rule)
	if err := h.store(a, "a", 1, "one"); err != nil {
		t.Fatal(err)
	}
	if err := h.activate(a, "a", 1, 1); err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("a reload that fails: %v", err)
	}
	if applied, _ := a.Applied("a"); !applied.Pending || h.shows("a") != "one" {
		t.Errorf("applied: %+v", applied)
	}
	stop()
	if err := os.WriteFile(allowed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ = startWith(h, rule)
	if applied, _ := a.Applied("a"); !applied.Pending {
		t.Error("after a restart, the reload is not pending")
	}
	if err := h.activate(a, "a", 1, 1); err != nil {
		t.Fatal(err)
	}
	if applied, _ := a.Applied("a"); applied.Pending {
		t.Error("the reload has succeeded and is still pending")
	}
}

func TestANewerPointerEndsTheHooksOfAnOlderOne(t *testing.T) {
	h := newHost(t)
	started := filepath.Join(h.dir, "started")
	a, _ := startWith(h, Rule{Check: &Check{Command: shell("if grep -q slow {path}; then touch %s; sleep 600; fi", started)}})
	if err := h.store(a, "a", 1, "slow"); err != nil {
		t.Fatal(err)
	}
	if err := h.store(a, "a", 2, "quick"); err != nil {
		t.Fatal(err)
	}
	outcome := h.activateLater(a, "a", 1, 1)
	waitUntil(t, func() bool { _, err := os.Stat(started); return err == nil })
	if !a.hooks.busy("a") {
		t.Error("a config whose check runs is not busy")
	}
	quick := h.activateLater(a, "a", 2, 2)
	if err := outcome(); err == nil || !strings.Contains(err.Error(), errSuperseded.Error()) {
		t.Errorf("the older pointer: %v", err)
	}
	if err := quick(); err != nil || h.shows("a") != "quick" {
		t.Errorf("the newer pointer: %v; a shows %q", err, h.shows("a"))
	}
}

func TestStoppingEndsHooks(t *testing.T) {
	h := newHost(t)
	started := filepath.Join(h.dir, "started")
	a, stop := startWith(h, Rule{Check: &Check{Command: shell("touch %s; sleep 600", started)}})
	if err := h.store(a, "a", 1, "x"); err != nil {
		t.Fatal(err)
	}
	h.activateLater(a, "a", 1, 1)
	waitUntil(t, func() bool { _, err := os.Stat(started); return err == nil })
	stop()
}

func TestASignalReloadsAProcess(t *testing.T) {
	h := newHost(t)
	pidFile := filepath.Join(h.dir, "pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR2)
	defer signal.Stop(got)
	a, _ := startWith(h, Rule{Reload: &Reload{Signal: &Signal{PIDFile: pidFile, Signal: "SIGUSR2"}}})
	h.run(a, "a", 1, "x")
	<-got
	for content, want := range map[string]string{"": "not a process id", "1": "not a process id", "x": "not a process id"} {
		if err := os.WriteFile(pidFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&Signal{PIDFile: pidFile, Signal: "HUP"}).send(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a file that holds %q: %v", content, err)
		}
	}
	if err := (&Signal{PIDFile: pidFile + ".none", Signal: "HUP"}).send(); err == nil {
		t.Error("a file that does not exist: no error")
	}
}

func TestASystemdUnitIsReloadedBySystemctl(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(h.dir, "log")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" > %s\n", log)
	if err := os.WriteFile(filepath.Join(h.dir, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", h.dir+":"+os.Getenv("PATH"))
	a, _ := startWith(h, Rule{Reload: &Reload{Systemd: "web.service"}})
	h.run(a, "a", 1, "x")
	if got := read(t, log); got != "reload-or-restart web.service\n" {
		t.Errorf("systemctl was called with %q", got)
	}
}
