// Package hook runs a command of an operator, with a limit on its time and its output.
//
// Entry point: [Run]. A command runs in a process group of its own. At its timeout, or when its
// context ends, Run kills the group, and every process outside the group that has the cookie of
// the command in its environment. Run reads all output and keeps a part of it; a command that
// prints too much is killed.
//
// Run does not protect against a hostile command, which has the rights of its caller. Limits on
// memory and on the number of processes are the business of the service manager.
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
	// MaxOutput is the size of the kept output: the first keptStart bytes and the end.
	MaxOutput = 4 << 10
	keptStart = 1 << 10
	// maxPrinted is the size of the output past which a command is killed.
	maxPrinted = 64 << 20
)

const (
	// cookieName is the environment variable that marks the processes of a command.
	cookieName = "BANYAN_HOOK_ID"
	// drain is the time for which Run waits for output of processes that outlive the command.
	drain = time.Second
	// sweeps is the number of searches for marked processes. A process may fork during a
	// search.
	sweeps = 20
)

// Command is a command to run.
type Command struct {
	// Args are the program and its arguments.
	Args []string
	// Env is added to the environment of the caller, without the caller's BANYAN_ variables.
	Env     []string
	Timeout time.Duration
	// Isolated is set if no process of the command may outlive the command. Otherwise the
	// processes of a command are left alone if the command ends in time: a reload may start a
	// daemon.
	Isolated bool
}

var (
	// ErrTimeout is wrapped if a command does not end in time.
	ErrTimeout = errors.New("did not end in time")
	// ErrOutput is wrapped if a command prints too much.
	ErrOutput = errors.New("printed too much")
)

// Run runs a command and returns the kept part of its output. The error is the exit status of
// the command, or wraps ErrTimeout, ErrOutput or the cause of the end of ctx.
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
	cmd.Stdout = kept
	cmd.Stderr = kept
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = drain
	err = cmd.Run()
	if cmd.Process != nil && (c.Isolated || ctx.Err() != nil) {
		killGroup(cmd.Process.Pid)
		killMarked(cookie)
	}
	switch {
	case ctx.Err() != nil && (err != nil || parent.Err() == nil):
		err = context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // the command succeeded; a daemon started by the command holds the output open
	}
	return kept.String(), err
}

// foreign returns the environment without banyan's own variables.
func foreign(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "BANYAN_") {
			out = append(out, v)
		}
	}
	return out
}

// killGroup kills a process group.
func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// killMarked kills every process with cookie in the environment. It finds no process on a
// system without /proc.
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

// tail keeps the beginning and the end of the output of a command. Only one goroutine writes
// the output; the goroutine ends before Run returns.
type tail struct {
	start   []byte
	end     []byte
	printed int
	full    func() // called when more than maxPrinted bytes have been written
}

func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	t.printed += n
	if t.printed > maxPrinted {
		t.full()
	}
	if room := keptStart - len(t.start); room > 0 {
		take := min(room, len(b))
		t.start = append(t.start, b[:take]...)
		b = b[take:]
	}
	t.end = append(t.end, b[max(len(b)-(MaxOutput-keptStart), 0):]...)
	t.end = t.end[max(len(t.end)-(MaxOutput-keptStart), 0):]
	return n, nil
}

// String returns the kept output, with a mark where output was left out.
func (t *tail) String() string {
	text := string(t.start)
	if t.printed > len(t.start)+len(t.end) {
		text += "\n[…]\n"
	}
	return strings.ToValidUTF8(text+string(t.end), "?")
}
