package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/internal/fleet"
	"banyan/rollout"
	"banyan/versionstore"
)

// DemoTruthConfig configures DemoTruth. A zero field has the default that its comment names.
type DemoTruthConfig struct {
	// Dir is the directory of the fleet; default a temporary directory, which DemoTruth removes.
	Dir string
	// Agents is the number of agents; default 6.
	Agents int
	// Say, if not nil, is called with every chapter when it is over.
	Say func(DemoChapter)
}

// DemoChapter is a mishap, and what is said about it.
type DemoChapter struct {
	Title string `json:"title"`
	// Before is what an earlier build said of the mishap.
	Before     string          `json:"before"`
	Statements []DemoStatement `json:"statements"`
}

// DemoStatement is something that Banyan says, beside what is so.
type DemoStatement struct {
	Said string `json:"said"`
	// Found is what the files of the hosts, or the store, show.
	Found string `json:"found"`
	True  bool   `json:"true"`
}

// DemoTruthResult is the result of DemoTruth.
type DemoTruthResult struct {
	Agents   int           `json:"agents"`
	Chapters []DemoChapter `json:"chapters"`
}

// Honest reports whether every statement is true.
func (r DemoTruthResult) Honest() bool {
	for _, c := range r.Chapters {
		for _, s := range c.Statements {
			if !s.True {
				return false
			}
		}
	}
	return true
}

// DemoTruth runs a fleet into five mishaps of which an earlier build told lies, and compares what
// is said now with what the hosts show.
func DemoTruth(ctx context.Context, cfg DemoTruthConfig) (r DemoTruthResult, err error) {
	if cfg.Agents == 0 {
		cfg.Agents = 6
	}
	if cfg.Dir == "" {
		cfg.Dir, err = os.MkdirTemp("", "banyan-demo-")
		if err != nil {
			return r, err
		}
		defer os.RemoveAll(cfg.Dir)
	}
	d := &demoTruth{ctx: ctx, cfg: cfg}
	d.Fleet, err = fleet.Start(ctx, fleet.Config{
		Dir:         filepath.Join(cfg.Dir, "fleet"),
		Agents:      cfg.Agents,
		Regions:     []string{"eu"},
		Fanout:      2,
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		OnAgent:     d.configure,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	if err := d.WaitAttached(ctx); err != nil {
		return r, fmt.Errorf("agents did not all join: %w", err)
	}
	r.Agents = cfg.Agents
	for _, tell := range []func() (DemoChapter, error){
		d.handEdit, d.takenBack, d.otherHistory, d.hostsAway, d.lostWrite,
	} {
		c, err := tell()
		if err != nil {
			return r, fmt.Errorf("%s: %w", c.Title, err)
		}
		r.Chapters = append(r.Chapters, c)
		if cfg.Say != nil {
			cfg.Say(c)
		}
	}
	return r, nil
}

// demoTruth is a demo in progress.
type demoTruth struct {
	*fleet.Fleet
	ctx context.Context
	cfg DemoTruthConfig
}

// configure gives every agent a check that refuses a deprecated setting.
func (d *demoTruth) configure(_ int, c *agent.Config) {
	check := `! grep deprecated "$BANYAN_PATH" || { echo "unknown protocol"; exit 1; }`
	c.Hooks, _ = agent.NewHooks(agent.Rule{
		Config: "*",
		Check:  &agent.Check{Command: []string{"/bin/sh", "-c", check}},
	})
}

// handEdit edits a file by hand, and publishes a version over the edit.
func (d *demoTruth) handEdit() (DemoChapter, error) {
	c := DemoChapter{
		Title:  "somebody edits a file on a host, and a version is published",
		Before: "all hosts applied; the edit stayed on the host through every later version",
	}
	const config = "edge/motd"
	if _, err := d.roll(config, "hello\n"); err != nil {
		return c, err
	}
	path := d.path(0, config)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("edited\n"), 0o644)); err != nil {
		return c, err
	}
	if _, err := d.roll(config, "hello again\n"); err != nil {
		return c, err
	}
	s, err := d.statement(config)
	c.Statements = append(c.Statements, s)
	return c, err
}

// takenBack rolls back over a version that a gate has taken back.
func (d *demoTruth) takenBack() (DemoChapter, error) {
	c := DemoChapter{
		Title:  "version 2 is refused and taken back, version 3 runs, and somebody says rollback",
		Before: "rolled back to version 2, the version that was taken back",
	}
	const config = "edge/proxy"
	for _, body := range []string{"proto h2\n", "proto spdy # deprecated\n", "proto h3\n"} {
		if _, err := d.roll(config, body); err != nil {
			return c, err
		}
	}
	out, err := d.Client.Rollback(d.ctx, config, api.Rollback{Message: "h3 is slow"})
	if err != nil {
		return c, err
	}
	if len(out.Regions) != 1 {
		return c, fmt.Errorf("rolled back %d regions, want 1", len(out.Regions))
	}
	back := out.Regions[0]
	if err := d.waitApplied(config, len(d.Agents)); err != nil {
		return c, err
	}
	shown := d.show(config, "proto h2\n")
	c.Statements = append(c.Statements, DemoStatement{
		Said:  fmt.Sprintf("rolled back from version %d to version %d", back.From, back.To),
		Found: fmt.Sprintf("%d of %d hosts show version 1", shown, len(d.Agents)),
		True:  back.Moved && back.From == 3 && back.To == 1 && shown == len(d.Agents),
	})
	again, err := d.Client.Rollback(d.ctx, config, api.Rollback{})
	if err != nil {
		return c, err
	}
	shown = d.show(config, "proto h2\n")
	c.Statements = append(c.Statements, DemoStatement{
		Said:  fmt.Sprintf("rollback, said twice, moved something: %t", again.Moved()),
		Found: fmt.Sprintf("%d of %d hosts show version 1", shown, len(d.Agents)),
		True:  !again.Moved() && shown == len(d.Agents),
	})
	return c, nil
}

// otherHistory restores the leader from a backup, and publishes another version 2.
func (d *demoTruth) otherHistory() (DemoChapter, error) {
	c := DemoChapter{
		Title:  "the leader is restored from a backup of version 1; hosts run a version 2 that it has lost",
		Before: "another version 2 was published and applied on all hosts; they showed the lost version 2",
	}
	const config = "site/limits"
	backup := filepath.Join(d.cfg.Dir, "backup")
	if _, err := d.roll(config, "limit 1\n"); err != nil {
		return c, err
	}
	if err := d.leaderDown(func() error { return os.CopyFS(backup, os.DirFS(d.leaderDir())) }); err != nil {
		return c, err
	}
	if _, err := d.roll(config, "limit 2\n"); err != nil {
		return c, err
	}
	err := d.leaderDown(func() error {
		if err := os.RemoveAll(d.leaderDir()); err != nil {
			return err
		}
		return os.CopyFS(d.leaderDir(), os.DirFS(backup))
	})
	if err != nil {
		return c, err
	}
	refused, err := d.refusal(config)
	if err != nil {
		return c, err
	}
	c.Statements = append(c.Statements, refused)
	if _, err := d.Client.BeginTerm(d.ctx, api.NewTerm{Message: "the backup is right"}); err != nil {
		return c, err
	}
	if _, err := d.roll(config, "limit two\n"); err != nil {
		return c, err
	}
	s, err := d.statement(config)
	c.Statements = append(c.Statements, s)
	return c, err
}

// refusal waits until the restored leader has met a host that is ahead of its store, and tries
// to publish.
func (d *demoTruth) refusal(config string) (DemoStatement, error) {
	err := fleet.Poll(d.ctx, pollEvery, func() (bool, error) {
		s, err := d.Client.Status(d.ctx)
		return err == nil && s.Stopped != "", nil
	})
	if err != nil {
		return DemoStatement{}, err
	}
	_, err = d.Client.Publish(d.ctx, d.draft(config, "limit two\n"), d.Key)
	s, statusErr := d.Client.ConfigStatus(d.ctx, config)
	if statusErr != nil {
		return DemoStatement{}, statusErr
	}
	said := "published"
	if err != nil {
		said = "publish refused; this leader has stopped writing"
	}
	applied := applied(s)
	lost := d.show(config, "limit 2\n")
	return DemoStatement{
		Said:  fmt.Sprintf("%s; version %d on %d hosts", said, s.Regions[0].Version, applied),
		Found: fmt.Sprintf("%d of %d hosts show the version 2 that the leader has lost", lost, len(d.Agents)),
		True:  err != nil && applied == 0 && lost == len(d.Agents),
	}, nil
}

// hostsAway publishes while hosts are away: half of them, and then all.
func (d *demoTruth) hostsAway() (DemoChapter, error) {
	c := DemoChapter{
		Title:  "a version is published while half of the hosts are away, and another while all are",
		Before: "3/3 applied, and then 0/0 published, exit code 0",
	}
	const config = "site/banner"
	if _, err := d.roll(config, "banner 1\n"); err != nil {
		return c, err
	}
	half := len(d.Agents) / 2
	for _, a := range d.Agents[half:] {
		d.StopAgent(a)
	}
	if err := d.move(config, "banner 2\n", half); err != nil {
		return c, err
	}
	s, err := d.statement(config)
	if err != nil {
		return c, err
	}
	c.Statements = append(c.Statements, s)
	for _, a := range d.Agents[:half] {
		d.StopAgent(a)
	}
	if err := d.move(config, "banner 3\n", 0); err != nil {
		return c, err
	}
	s, err = d.statement(config)
	if err != nil {
		return c, err
	}
	c.Statements = append(c.Statements, s)
	n := len(d.Agents)
	d.Agents = nil
	for i := range n {
		if _, err := d.StartAgent(i); err != nil {
			return c, err
		}
	}
	if err := d.waitApplied(config, n); err != nil {
		return c, err
	}
	s, err = d.statement(config)
	c.Statements = append(c.Statements, s)
	return c, err
}

// lostWrite flips a bit in the log of the leader's store.
func (d *demoTruth) lostWrite() (DemoChapter, error) {
	c := DemoChapter{
		Title:  "one bit of the leader's log flips on disk",
		Before: "started without a word; every acknowledged write after the bit was gone",
	}
	const config = "site/colors"
	const versions = 20
	for v := range versions {
		if _, err := d.Client.Publish(d.ctx, d.draft(config, fmt.Sprintf("color %d\n", v)), d.Key); err != nil {
			return c, err
		}
	}
	// A killed process leaves its writes in the log. The copy is what a kill leaves.
	store := filepath.Join(d.leaderDir(), "store")
	killed := filepath.Join(d.cfg.Dir, "killed")
	if err := os.CopyFS(killed, os.DirFS(store)); err != nil {
		return c, err
	}
	replace := func(spoil func() error) func() error {
		return func() error {
			if err := os.RemoveAll(store); err != nil {
				return err
			}
			return errors.Join(os.CopyFS(store, os.DirFS(killed)), spoil())
		}
	}
	err := d.leaderDown(replace(func() error { return flipBit(store) }))
	if err == nil {
		c.Statements = append(c.Statements, DemoStatement{Said: "the leader started", Found: "a bit of the log is wrong"})
		return c, nil
	}
	c.Statements = append(c.Statements, DemoStatement{
		Said:  "the leader does not start: " + versionstore.ErrLost.Error(),
		Found: "a bit of the log is wrong",
		True:  errors.Is(err, versionstore.ErrLost),
	})
	if err := d.leaderDown(replace(func() error { return nil })); err != nil {
		return c, err
	}
	history, err := d.Client.History(d.ctx, config, versions+1)
	c.Statements = append(c.Statements, DemoStatement{
		Said:  fmt.Sprintf("with the bit as it was: %d versions in the store", len(history)),
		Found: fmt.Sprintf("%d versions were acknowledged", versions),
		True:  len(history) == versions,
	})
	return c, err
}

// flipBit flips a bit in the middle of the newest log of a store.
func flipBit(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) == 0 {
		return errors.Join(fmt.Errorf("no log in %s", dir), err)
	}
	path := logs[len(logs)-1]
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	used := len(strings.TrimRight(string(b), "\x00"))
	b[used/2] ^= 1
	return os.WriteFile(path, b, 0o600)
}

// pollEvery is the time between two looks at what is waited for.
const pollEvery = 20 * time.Millisecond

// leaderDown calls fn while the leader is down.
func (d *demoTruth) leaderDown(fn func() error) error {
	var failed error
	if err := d.RestartCoordinatorAfter(0, func() { failed = fn() }); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	return d.WaitAttached(d.ctx)
}

func (d *demoTruth) leaderDir() string {
	return filepath.Join(d.Config.Dir, "coordinator-"+d.Config.Regions[0])
}

func (d *demoTruth) draft(config, body string) api.Draft {
	return api.Draft{Config: config, Body: []byte(body), ContentType: draft.TypeText}
}

// roll publishes a version and follows its rollout to the end. A version that is not taken back
// then runs on every host by status.
func (d *demoTruth) roll(config, body string) (r api.Rollout, err error) {
	v, err := d.Client.Publish(d.ctx, d.draft(config, body), d.Key)
	if err != nil {
		return r, err
	}
	start := api.StartRollout{Version: v.Manifest.Version, Plan: "waves: [{share: 100%}]\ngates: {minSuccess: 100%}\n"}
	if _, err := d.Client.StartRollout(d.ctx, config, start); err != nil {
		return r, err
	}
	err = fleet.Poll(d.ctx, pollEvery, func() (bool, error) {
		got, err := d.Client.Rollout(d.ctx, config)
		r = got
		return err == nil && r.Status.Over(), err
	})
	if err != nil || r.Status != rollout.Done {
		return r, err
	}
	return r, d.waitApplied(config, len(d.Agents))
}

// move publishes a version and activates it at once, and waits until status counts n hosts, and
// says of the others that they are not heard of.
func (d *demoTruth) move(config, body string, n int) error {
	if _, _, err := d.Publish(d.ctx, d.draft(config, body)); err != nil {
		return err
	}
	return fleet.Poll(d.ctx, pollEvery, func() (bool, error) {
		s, err := d.Client.ConfigStatus(d.ctx, config)
		return err == nil && applied(s) == n && s.Regions[0].Unheard == d.cfg.Agents-n, err
	})
}

// waitApplied waits until status counts n hosts as applied.
func (d *demoTruth) waitApplied(config string, n int) error {
	return fleet.Poll(d.ctx, pollEvery, func() (bool, error) {
		s, err := d.Client.ConfigStatus(d.ctx, config)
		return err == nil && applied(s) == n, err
	})
}

// applied returns the number of hosts that status counts as applied.
func applied(s api.ConfigStatus) (n int) {
	for _, r := range s.Regions {
		n += int(r.Applied)
	}
	return n
}

// statement is what status says of a config now, beside what the hosts show.
func (d *demoTruth) statement(config string) (DemoStatement, error) {
	s, err := d.Client.ConfigStatus(d.ctx, config)
	if err != nil {
		return DemoStatement{}, err
	}
	version := s.Regions[0].Version
	content, err := d.Client.Body(d.ctx, config, version)
	if err != nil {
		return DemoStatement{}, err
	}
	defer content.Close()
	body, err := io.ReadAll(content)
	if err != nil {
		return DemoStatement{}, err
	}
	shown := d.show(config, string(body))
	said := fmt.Sprintf("version %d applied on %d of %d hosts", version, applied(s), s.Regions[0].Hosts)
	if n := s.Regions[0].Unheard; n > 0 {
		said += fmt.Sprintf(", %d not heard of", n)
	}
	return DemoStatement{
		Said:  said,
		Found: fmt.Sprintf("%d of %d hosts show exactly its content", shown, d.cfg.Agents),
		True:  shown == applied(s) && s.Regions[0].Hosts == d.cfg.Agents,
	}, nil
}

// show returns the number of hosts whose file has the content body.
func (d *demoTruth) show(config, body string) (n int) {
	for i := range d.cfg.Agents {
		got, err := os.ReadFile(d.path(i, config))
		if err == nil && string(got) == body {
			n++
		}
	}
	return n
}

func (d *demoTruth) path(i int, config string) string {
	return filepath.Join(d.AgentDir(i), "configs", filepath.FromSlash(config), "value")
}
