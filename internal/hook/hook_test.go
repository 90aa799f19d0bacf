package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(script string) Command {
	return Command{Args: []string{"/bin/sh", "-c", script}, Timeout: time.Minute, Isolated: true}
}

func TestAHookIsToldAndItsOutputKept(t *testing.T) {
	t.Setenv("BANYAN_KEY", "secret")
	c := shell("echo to stdout; echo to stderr >&2; echo $BANYAN_CONFIG; echo key $BANYAN_KEY.")
	c.Env = []string{"BANYAN_CONFIG=a/b"}
	out, err := Run(t.Context(), c)
	if err != nil || out != "to stdout\nto stderr\na/b\nkey .\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err = Run(t.Context(), shell("echo no good; exit 3")); err == nil || err.Error() != "exit status 3" || out != "no good\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err = Run(t.Context(), Command{Args: []string{"/does/not/exist"}, Timeout: time.Minute}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a command that is not there: %v", err)
	}
}

// stray runs a script that writes the process ids of what it started to a file, and returns
// those that are alive after it.
func strays(t *testing.T, c Command, file string) (alive []int, err error) {
	t.Helper()
	_, err = Run(t.Context(), c)
	raw, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatal(readErr)
	}
	for _, line := range strings.Fields(string(raw)) {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err != nil {
			t.Fatal(err)
		}
		// A killed process may be a zombie until its parent looks.
		stat, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if readErr == nil && !strings.Contains(string(stat), ") Z ") {
			alive = append(alive, pid)
		}
	}
	return alive, err
}

func TestAHookThatHangsIsKilledWithAllItStarted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	// One child in the group, and one that has left it with a session of its own.
	c := shell(fmt.Sprintf("sleep 1000 & echo $! >> %[1]s; setsid sh -c 'echo $$ >> %[1]s; exec sleep 1000' & sleep 0.2; echo $$ >> %[1]s; sleep 1000", file))
	c.Timeout = time.Second
	began := time.Now()
	alive, err := strays(t, c, file)
	if !errors.Is(err, ErrTimeout) || len(alive) > 0 || time.Since(began) > 30*time.Second {
		t.Errorf("%v; alive: %v, after %s", err, alive, time.Since(began))
	}
}

func TestACheckLeavesNothingBehindAndAReloadMay(t *testing.T) {
	for _, alone := range []bool{true, false} {
		file := filepath.Join(t.TempDir(), "pids")
		c := shell(fmt.Sprintf("sleep 1000 & echo $! > %s", file))
		c.Isolated = alone
		alive, err := strays(t, c, file)
		if err != nil || (len(alive) == 0) != alone {
			t.Errorf("alone %t: %v; alive: %v", alone, err, alive)
		}
		for _, pid := range alive {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestAHookThatPrintsWithoutEndIsContained(t *testing.T) {
	out, err := Run(t.Context(), shell("echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo last"))
	if err != nil || len(out) > MaxOutput+10 || !strings.HasPrefix(out, "first\n") || !strings.HasSuffix(out, "last\n") {
		t.Errorf("%d bytes kept, %v", len(out), err)
	}
	if out, err = Run(t.Context(), shell("cat /dev/zero")); !errors.Is(err, ErrOutput) || len(out) > MaxOutput+10 {
		t.Errorf("%d bytes kept, %v", len(out), err)
	}
}

func TestAHookEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("superseded")
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if _, err := Run(ctx, shell("sleep 1000")); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}
