package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// regionIs waits until the status of a region is as is says.
func (c *cli) regionIs(what, config, region string, is func(api.RegionStatus) bool) {
	c.t.Helper()
	c.Until(what, func() bool {
		s, err := c.Client.ConfigStatus(c.t.Context(), config)
		if err != nil {
			return false
		}
		for _, r := range s.Regions {
			if r.Region == region {
				return is(r)
			}
		}
		return false
	})
}

func unheard(n int) func(api.RegionStatus) bool {
	return func(r api.RegionStatus) bool { return r.Unheard == n && len(r.Absent) == n }
}

// Status counts against the hosts that there are, and not against those that are up. A version
// that reaches nobody is no success.
func TestTruthStatusCountsTheInventory(t *testing.T) {
	c := newCLI(t, 6)
	body := func(n string) string { return file(t, "a.json", `{"n": `+n+`}`) }
	c.expect(0, []string{"3/3"}, "publish", "a", body("1"))

	// One host of eu is down, which a gate tolerates.
	c.StopAgent(c.Agents[0])
	c.regionIs("one host of eu is not heard of", "a", "eu", unheard(1))
	c.expect(0, []string{"2/3", "eu: 2 of 3 applied, 1 not heard of (eu-agent-0000 since "}, "publish", "a", body("2"))
	c.expect(0, []string{"2/3", "1 not heard of (eu-agent-0000 since "}, "status", "a")
	if got := strings.Join(c.shown("a"), ""); got != `{"n": 1}`+strings.Repeat(`{"n": 2}`, 5) {
		t.Errorf("the hosts show %s", got)
	}

	// Two of three are down, which the gate does not tolerate.
	c.StopAgent(c.Agents[2])
	c.regionIs("two hosts of eu are not heard of", "a", "eu", unheard(2))
	c.expect(7, []string{"staging: waiting for eu-agent-0000, last heard ", "eu-agent-0002, last heard ", "more, then it is taken back"},
		"publish", "a", body("3"), "--wait", "1s")
	c.expect(0, []string{"waiting for eu-agent-0000"}, "rollout", "status", "a")
	c.expect(0, nil, "rollout", "abort", "a")

	// All are down.
	c.StopAgent(c.Agents[4])
	c.regionIs("no host of eu is heard of", "a", "eu", unheard(3))
	c.expect(7, []string{"0/3", "0 of 3 applied, 3 not heard of"}, "publish", "a", body("4"), "--immediate", "--region", "eu", "--wait", "1s")
	c.expect(0, []string{"0/3"}, "status", "a")

	c.expect(0, []string{"eu-agent-0000", "us-agent-0001", "now"}, "agents", "--all")
	c.expect(5, []string{"us-agent-0001 is attached to coordinator-us"}, "agents", "retire", "us-agent-0001")
	c.expect(1, []string{`host "nobody" is not in the inventory`}, "agents", "retire", "nobody")
	for _, name := range []string{"eu-agent-0000", "eu-agent-0002", "eu-agent-0004"} {
		c.expect(0, []string{"host " + name + " of region eu retired"}, "agents", "retire", name)
	}
	c.expect(0, []string{"0/0"}, "status", "a")
	c.expect(7, []string{"no host is known to run what the pointer of a says", "has ever attached"}, "publish", "a", body("5"), "--immediate", "--region", "eu")
}

// The inventory outlives the leader.
func TestTruthTheInventoryIsStored(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, []string{"1/1"}, "publish", "a", file(t, "a.json", `{"n": 1}`))
	c.StopAgent(c.Agents[0])
	c.regionIs("the host of eu is not heard of", "a", "eu", unheard(1))
	if err := c.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	c.regionIs("the new leader misses the host of eu", "a", "eu", unheard(1))
	c.regionIs("the new leader knows the host of us", "a", "us", func(r api.RegionStatus) bool { return r.Applied == 1 && r.Unheard == 0 })
	c.expect(0, []string{"eu: 0 of 1 applied, 1 not heard of (eu-agent-0000 since "}, "status", "a")
}

// Nobody counts as applied on old news: a region whose coordinator is not heard of says so.
func TestTruthARegionThatIsNotHeardOfSaysSo(t *testing.T) {
	c := &cli{t, fleettest.Start(t, fleet.Config{Agents: 4, Publisher: "admin", HeadInterval: 1e8})}
	c.expect(0, []string{"2/2"}, "publish", "a", file(t, "a.json", `{"n": 1}`))
	c.StopCoordinator(1)
	c.regionIs("us is unreachable", "a", "us", func(r api.RegionStatus) bool { return r.Unreachable && r.Applied == 0 && !r.HeardAt.IsZero() })
	c.expect(0, []string{"0/2", "us: UNREACHABLE since ", "nothing is known of its 2 hosts", "2/2"}, "status", "a")
	c.expect(0, []string{"a in us: UNREACHABLE since "}, "status")
	c.expect(7, []string{"us: UNREACHABLE since "}, "publish", "a", file(t, "b.json", `{"n": 2}`), "--immediate", "--wait", "1s")
	c.expect(0, nil, "publish", "a", file(t, "c.json", `{"n": 3}`), "--region", "eu")
	c.expect(7, []string{"staging: waiting for the coordinator of us, last heard "}, "publish", "a", file(t, "d.json", `{"n": 4}`), "--wait", "1s")
}

// clone runs a second process with the identity of agent 0, until the test or stop ends it.
func (c *cli) clone() (stop func()) {
	c.t.Helper()
	cfg, err := c.AgentConfig(0)
	if err != nil {
		c.t.Fatal(err)
	}
	dir := c.t.TempDir()
	cfg.OutputDir = filepath.Join(dir, "configs")
	cfg.StateDir = filepath.Join(dir, "state")
	a, err := agent.Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = func() {
		cancel()
		<-ended
	}
	return stop
}

// Two hosts that run with one identity, as from one golden image, are noticed, and do not count.
func TestTruthTwoHostsWithOneIdentityDoNotCount(t *testing.T) {
	c := newCLI(t, 4)
	c.expect(0, []string{"2/2"}, "publish", "a", file(t, "a.json", `{"n": 1}`))
	stop := c.clone()
	defer stop()
	c.Until("the clone is noticed", func() bool {
		return strings.Contains(c.run("agents").stdout, "eu-agent-0000: 2 hosts run with this identity, at ")
	})
	c.regionIs("the identity does not count", "a", "eu", func(r api.RegionStatus) bool { return r.Applied <= 1 && r.Hosts == 2 })
	named := "two hosts run with the identity of eu-agent-0000, which does not count"
	c.Until("status names the identity", func() bool { return strings.Contains(c.run("status", "a").stdout, "eu: "+named) })
	c.expect(7, []string{"timed out", "waiting for eu-agent-0000, an identity with which two hosts run"},
		"publish", "a", file(t, "b.json", `{"n": 2}`), "--wait", "2s")
	c.expect(7, []string{"timed out", named}, "publish", "b", file(t, "b.json", `{"n": 2}`), "--immediate", "--wait", "2s")
	r, err := c.Client.Rollout(t.Context(), "a")
	if err != nil || r.Status.Over() {
		t.Errorf("the rollout is %s, %v", r.Title, err)
	}
}

// A host that was issued an identity counts, whether or not it ever comes up.
func TestTruthAnIssuedIdentityCountsBeforeItsHostComesUp(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, []string{"1/1"}, "publish", "a", file(t, "a.json", `{"n": 1}`))
	r := c.expect(0, []string{"banyan://agent/eu/late"}, "cert", "agent", "late", "--region", "eu", "--out", filepath.Join(t.TempDir(), "late"))
	if r.stderr != "" {
		t.Errorf("cert says %s", r.stderr)
	}
	c.expect(0, []string{"eu: 1 of 2 applied, 1 not heard of (late ever)"}, "status", "a")
	c.expect(0, []string{"late", "never"}, "agents", "--all")
	c.expect(0, []string{"host h1 of region eu is expected", "1 of 2 hosts listed already"},
		"agents", "expect", "late", "h1", "--region", "eu")
	c.expect(0, []string{"admin", "expects host h1 of region eu"}, "log")
	if err := c.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	c.regionIs("the new leader expects both hosts", "a", "eu", func(r api.RegionStatus) bool { return r.Hosts == 3 && r.Unheard == 2 })

	c.expect(0, nil, "agents", "retire", "late")
	c.expect(0, nil, "agents", "retire", "h1")
	c.regionIs("retired hosts do not count", "a", "eu", func(r api.RegionStatus) bool { return r.Hosts == 1 && r.Applied == 1 })
	c.expect(3, []string{`region "mars" is not in the trust policy`}, "agents", "expect", "h2", "--region", "mars")
	c.expect(3, []string{`name "a/b"`}, "agents", "expect", "a/b", "--region", "eu")
	c.expect(2, []string{"--region is required"}, "agents", "expect", "h2")
	c.expect(5, []string{"host eu-agent-0000 is in region eu, not us; nothing was changed"},
		"agents", "expect", "h3", "eu-agent-0000", "--region", "us")
	if r := c.run("agents", "--all"); strings.Contains(r.stdout, "h3") {
		t.Errorf("a refused request has listed a host:\n%s", r.stdout)
	}

	// Without a coordinator the identity is issued all the same.
	out := filepath.Join(t.TempDir(), "later")
	c.expect(0, []string{"host later is not in the inventory until it attaches", "banyan agents expect later --region eu"},
		"cert", "agent", "later", "--region", "eu", "--out", out, "--coordinator", "127.0.0.1:1")
	r = c.expect(0, nil, "cert", "agent", "lastly", "--region", "eu", "--out", filepath.Join(t.TempDir(), "l"), "--offline")
	if r.stderr != "" {
		t.Errorf("cert --offline says %s", r.stderr)
	}
}

// Nothing is known of the hosts of a coordinator that is gone: they are not attached "now".
func TestTruthTheInventoryDoesNotSayNowOnOldNews(t *testing.T) {
	c := newCLI(t, 2)
	c.Until("both hosts are listed", func() bool { return strings.Count(c.run("agents", "--all").stdout, "now") == 2 })
	c.StopCoordinator(1)
	c.Until("the host of us was last heard of at a time", func() bool {
		out := c.run("agents", "--all").stdout
		return strings.Count(out, "now") == 1 && strings.Contains(out, "coordinator-us (UNREACHABLE)")
	})
}

// Who waits for a version learns which hosts are missing, and why.
func TestTruthATimeOutNamesTheHosts(t *testing.T) {
	cfg := fleet.Config{Agents: 4, Publisher: "admin"}
	cfg.OnAgent = func(i int, a *agent.Config) {
		if i != 0 {
			return
		}
		hooks, err := agent.NewHooks(agent.Rule{Config: "*", Check: &agent.Check{Command: []string{"/bin/sh", "-c", `grep -q 1 "$BANYAN_PATH" || exit 7`}}})
		if err != nil {
			t.Error(err)
		}
		a.Hooks = hooks
	}
	c := &cli{t, fleettest.Start(t, cfg)}
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	r := c.expect(7, []string{"timed out: a is applied on 3 of 4 hosts after", "eu: eu-agent-0000 fails (check: exit status 7"},
		"publish", "a", file(t, "a.json", `{"n": 2}`), "--immediate", "--wait", "2s")
	if !strings.Contains(r.stderr, "error: timed out") {
		t.Errorf("not the final line: %s", r.stderr)
	}
	if got := strings.Join(c.shown("a"), ""); got != `{"n": 1}`+strings.Repeat(`{"n": 2}`, 3) {
		t.Errorf("the hosts show %s", got)
	}
	c.expect(7, []string{"failing: eu-agent-0000: check: exit status 7"},
		"publish", "b", file(t, "b.json", `{"n": 2}`), "--wave", "100%", "--stage-timeout", "1m", "--on-failure", "pause", "--wait", "2s")
}

// An attached host that has not answered is named, if it is to answer.
func TestTruthStatusNamesTheHostsThatHaveNotAnswered(t *testing.T) {
	r := api.RegionStatus{Region: "eu", Hosts: 9, Agents: 9, Applied: 4, Failed: 1,
		Silent:   []string{"h1", "h2", "h3", "h4"},
		Failures: []api.Failure{{Agent: "h9", Reason: "disk full", Delayed: true}},
	}
	w := awaited{versions: map[string]uint64{"eu": 0, "us": 0}}
	us := api.RegionStatus{Region: "us", Hosts: 20, Agents: 18, Applied: 18, Unheard: 2, Absent: []api.Absent{{Name: "u1"}, {Name: "u2"}}}
	if got, want := w.missing([]api.RegionStatus{r, us}), "; eu: h9 is delayed (disk full), no answer yet from h1, h2, h3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Who waits for a host that has said why it does not go on learns the reason.
func TestTruthAWaitSaysTheReasonThatAHostReported(t *testing.T) {
	cfg := fleet.Config{Agents: 6, Publisher: "admin"}
	cfg.OnAgent = func(i int, a *agent.Config) {
		if i == 0 {
			a.DiskQuota = 100
		}
	}
	c := &cli{t, fleettest.Start(t, cfg)}
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	c.StopAgent(c.Agents[2])
	c.regionIs("one host of eu is not heard of", "a", "eu", unheard(1))
	large := file(t, "b.json", `{"n": "`+strings.Repeat("2", 200)+`"}`)
	c.Until("the host that lacks room says so", func() bool {
		r := c.run("publish", "a", large, "--wait", "1s")
		return r.code == exitTimedOut && strings.Contains(r.stderr, "waiting for eu-agent-0000: ")
	})
	r := c.expect(0, []string{"waiting for eu-agent-0000: ", "disk quota is used up"}, "rollout", "status", "a")
	for _, wrong := range []string{"eu-agent-0002", "us-agent", "attached"} {
		if strings.Contains(r.stdout, wrong) {
			t.Errorf("the rollout waits for eu-agent-0000 only, and says %q:\n%s", wrong, r.stdout)
		}
	}
	c.expect(0, []string{"eu-agent-0000: ", "disk quota is used up"}, "status", "a")
	for i, got := range c.shown("a") {
		if got != `{"n": 1}` {
			t.Errorf("agent %d shows %s", i, got)
		}
	}
}

// A follower whose leader is dead says that it is the leader who does not answer.
func TestTruthAFollowerSaysThatItsLeaderIsDead(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, []string{"1/1"}, "publish", "a", file(t, "a.json", `{"n": 1}`))
	follower := c.Coordinators[1].APIAddr()
	leader := c.Coordinators[0].APIAddr()
	c.StopCoordinator(0)
	c.expect(4, []string{"no answer from leader " + leader, "the coordinator at " + follower, "nothing can be changed without the leader"},
		"publish", "a", file(t, "b.json", `{"n": 2}`), "--coordinator", follower)
	c.Until("the follower answers by itself", func() bool { return c.run("status", "a", "--coordinator", follower).code == 0 })
	c.expect(0, []string{"answered without the leader", "us"}, "status", "a", "--coordinator", follower)
}

// What is not there is named as people name it, with what was meant.
func TestTruthWhatIsNotThereIsNamed(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "web/flags", file(t, "a.json", `{"n": 1}`))
	for _, command := range []string{"status CONFIG", "get CONFIG", "history CONFIG", "diff CONFIG", "rollback CONFIG", "shards CONFIG", "rollout status CONFIG", "rollout history CONFIG", "rollout start CONFIG", "rollout pause CONFIG", "approve CONFIG"} {
		for config, hint := range map[string]string{"web/flasg": "did you mean web/flags?", "flags": "did you mean web/flags?", "no/such/thing": ""} {
			args := strings.Fields(strings.ReplaceAll(command, "CONFIG", config))
			r := c.expect(1, []string{`there is no config "` + config + `"`, hint}, args...)
			if hint == "" && strings.Contains(r.stderr, "did you mean") {
				t.Errorf("%s: %s", command, r.stderr)
			}
		}
	}
	c.expect(1, []string{`there is no config "web"`, "web is the begin of names such as web/flags"}, "status", "web")
	c.expect(0, nil, "publish", "web/new", file(t, "b.json", `{"n": 1}`), "--no-activate")
	c.expect(1, []string{"there was no rollout of web/new yet"}, "rollout", "status", "web/new")
	c.expect(1, []string{`there is no plan "x"`, "plan list"}, "plan", "delete", "x")
	c.expect(1, []string{`there is no plan "x"`, "plan list"}, "plan", "default", "web", "x")
	c.expect(1, []string{"web has no default plan"}, "plan", "default", "web")
	c.expect(1, []string{"web/flags is not locked"}, "unlock", "web/flags")
	c.expect(1, []string{"did you mean eu-agent-0000?"}, "agents", "retire", "eu-agent-0O00")
	c.expect(3, []string{"has the character 'ä'"}, "publish", "wäb", file(t, "c.json", "{}"))
}

// What coordinators tell each other all the time is no line of the log.
func TestTruthReportsOfCoordinatorsAreNotLogged(t *testing.T) {
	var log lockedBuffer
	c := &cli{t, fleettest.Start(t, fleet.Config{Agents: 2, Publisher: "admin", Log: slog.New(slog.NewTextHandler(&log, nil))})}
	c.Until("the leader has a report", func() bool { return strings.Count(c.run("agents", "--all").stdout, "now") == 2 })
	c.expect(0, nil, "freeze", "x", "--reason", "sale")
	got := log.String()
	if strings.Contains(got, "/v1/roster") || !strings.Contains(got, "/v1/holds") {
		t.Errorf("the log is %s", got)
	}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
