package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"banyan/transport/identity"
)

// The test binary is the banyan binary too: with this in its environment it runs
// the command line instead of the tests.
const asBanyan = "BANYAN_TEST_RUN_AS_BANYAN"

func TestMain(m *testing.M) {
	if os.Getenv(asBanyan) != "" {
		os.Unsetenv(asBanyan)
		if store := killingStore(); store != nil {
			a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, openStore: store}
			os.Exit(a.run(context.Background(), os.Args[1:]))
		}
		main()
	}
	os.Exit(m.Run())
}

// process is a real banyan process whose log a test reads.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []map[string]any // guarded by mu
	raw   strings.Builder
	woken *sync.Cond
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startIn(t, "", args...)
}

// startIn starts a process in a network namespace; "" for the one that is here.
func startIn(t *testing.T, namespace string, args ...string) *process {
	t.Helper()
	if args[0] == "coordinator" && namespace == "" { // several of them share this host
		args = append(args, "--gossip-listen", "127.0.0.1:0", "--gossip-wan-listen", "127.0.0.1:0")
	}
	p := &process{t: t, done: make(chan struct{})}
	p.woken = sync.NewCond(&p.mu)
	p.cmd = command(namespace, append([]string{"--log-format", "json"}, args...)...)
	// If the tests are killed, so is what they started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stderr)
	t.Cleanup(p.kill)
	return p
}

// command is the banyan command line as a process in a network namespace.
func command(namespace string, args ...string) *exec.Cmd {
	args = append([]string{os.Args[0]}, args...)
	if namespace != "" {
		args = append([]string{"ip", "netns", "exec", namespace}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), asBanyan+"=1")
	return cmd
}

func (p *process) read(r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line map[string]any
		p.mu.Lock()
		fmt.Fprintln(&p.raw, scanner.Text())
		if json.Unmarshal(scanner.Bytes(), &line) == nil {
			p.lines = append(p.lines, line)
		}
		p.woken.Broadcast()
		p.mu.Unlock()
	}
	p.cmd.Wait()
	p.mu.Lock()
	close(p.done)
	p.woken.Broadcast()
	p.mu.Unlock()
}

// kill sends SIGKILL and waits.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop sends SIGTERM, waits, and returns the exit code.
func (p *process) stop() int {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// waitLog returns the first line with that message; it fails if the process ends first.
func (p *process) waitLog(message string) map[string]any {
	p.t.Helper()
	timer := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for from := 0; ; {
		for ; from < len(p.lines); from++ {
			if p.lines[from]["msg"] == message {
				return p.lines[from]
			}
		}
		select {
		case <-p.done:
			p.t.Fatalf("process ended without saying %q:\n%s", message, p.raw.String())
		default:
		}
		p.woken.Wait()
	}
}

// logged returns every line with that message so far.
func (p *process) logged(message string) (found []map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l["msg"] == message {
			found = append(found, l)
		}
	}
	return found
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.raw.String()
}

// newHome makes a fleet's trust in a temporary directory.
func newHome(t *testing.T, regions ...string) *identity.Home {
	t.Helper()
	h, err := identity.InitHome(t.TempDir()+"/home", regions, "admin")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// startLeader starts the leading coordinator and returns its addresses.
func startLeader(t *testing.T, h *identity.Home, dataDir string, regions []string, more ...string) (p *process, mesh, api string) {
	t.Helper()
	args := []string{"coordinator", "--identity", h.CoordinatorDir(regions[0]), "--data-dir", dataDir,
		"--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--head-interval", "200ms"}
	for _, r := range regions {
		args = append(args, "--activation-key", h.ActivationKey(r))
	}
	p = start(t, append(args, more...)...)
	line := p.waitLog("coordinator runs")
	return p, line["mesh"].(string), line["api"].(string)
}

func issueAgent(t *testing.T, h *identity.Home, region, name string) string {
	t.Helper()
	dir := t.TempDir() + "/" + name
	if err := h.Issue(dir, identity.Identity{Role: identity.RoleAgent, Region: region, Name: name}); err != nil {
		t.Fatal(err)
	}
	return dir
}
