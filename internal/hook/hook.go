// Package hook runs one command of somebody else's, contained: it ends in time, with
// everything it started, whatever it prints.
//
// Entry point: [Run]. A command is a process group of its own. When its time is up, or its
// context ends, the group is killed, and so is whatever left the group: every process that
// has the command's cookie in its environment. Output is read to the end and most of it
// thrown away; a command that prints without end is killed.
//
// What a command does on purpose is not held back: it has the rights of its caller. A limit
// on its memory or number of processes is for the service manager to set.
package hook

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits of a command's output, in bytes.
const (
	// MaxOutput is what is kept of it: the beginning and, mostly, the end.
	MaxOutput = 4 << 10
	keptStart = 1 << 10
	// maxPrinted is how much it may print before it is killed.
	maxPrinted = 64 << 20
)

const (
	// cookieName is a variable by which what a command started is found.
	cookieName = "BANYAN_HOOK_ID"
	// drain is how long output is waited for from processes that outlive the command.
	drain = time.Second
	// sweeps is how often processes that fork while they are looked for are looked for.
	sweeps = 20
)

// Command is what to run, and how long it may take.
type Command struct {
	Args    []string
	Env     []string // beside the caller's environment without its BANYAN_ variables
	Timeout time.Duration
	// Alone: nothing that it starts may outlive it. Else that is so only of one that fails
	// to end in time: a reload may start a daemon.
	Alone bool
}

var (
	// ErrTimeout: the command did not end in time.
	ErrTimeout = errors.New("did not end in time")
	// ErrOutput: it printed without end.
	ErrOutput = errors.New("printed too much")
)

// Run runs a command to its end and returns what is kept of its output. The error says how
// it failed: its exit status, ErrTimeout, ErrOutput, or the cause of ctx's end.
func Run(ctx context.Context, c Command) (output string, err error) {
	parent := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("%w (%s)", ErrTimeout, c.Timeout))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	cookie := cookieName + "=" + rand.Text()
	kept := &tail{full: func() { stop(fmt.Errorf("%w: more than %d MiB", ErrOutput, maxPrinted>>20)) }}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(append(foreign(os.Environ()), c.Env...), cookie)
	cmd.Stdout, cmd.Stderr = kept, kept
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = drain
	err = cmd.Run()
	if cmd.Process != nil && (c.Alone || ctx.Err() != nil) {
		killGroup(cmd.Process.Pid)
		killMarked(cookie)
	}
	switch {
	case ctx.Err() != nil && (err != nil || parent.Err() == nil):
		err = context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well; a daemon that it started holds its output open
	}
	return kept.String(), err
}

// foreign is the caller's environment without its own settings.
func foreign(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "BANYAN_") {
			out = append(out, v)
		}
	}
	return out
}

func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// killMarked kills the processes that have a cookie in their environment, until there are
// none. Where there is no /proc it finds none.
func killMarked(cookie string) {
	for range sweeps {
		found := false
		paths, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range paths {
			env, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(env, []byte(cookie)) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
				found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
			}
		}
		if !found {
			return
		}
	}
}

// tail keeps the beginning and the end of what is written to it. exec writes to it from
// one goroutine, which ends before Run returns.
type tail struct {
	start, end []byte
	printed    int
	full       func()
}

func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	if t.printed += n; t.printed > maxPrinted {
		t.full()
	}
	if room := keptStart - len(t.start); room > 0 {
		take := min(room, len(b))
		t.start, b = append(t.start, b[:take]...), b[take:]
	}
	t.end = append(t.end, b[max(len(b)-(MaxOutput-keptStart), 0):]...)
	t.end = t.end[max(len(t.end)-(MaxOutput-keptStart), 0):]
	return n, nil
}

// String is what was kept, with a mark where something is left out.
func (t *tail) String() string {
	text := string(t.start)
	if t.printed > len(t.start)+len(t.end) {
		text += "\n[…]\n"
	}
	return strings.ToValidUTF8(text+string(t.end), "?")
}
