package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/rollout"
)

// shown returns what each agent of the fleet shows of a config.
func (c *cli) shown(config string) []string {
	c.t.Helper()
	var all []string
	for i := range c.Agents {
		raw, err := os.ReadFile(filepath.Join(c.AgentDir(i), "configs", config, "value"))
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return all
}

// shows checks what every agent shows of a config.
func (c *cli) shows(config, want string) {
	c.t.Helper()
	for i, got := range c.shown(config) {
		if got != want {
			c.t.Errorf("agent %d shows %q, want %q", i, got, want)
		}
	}
}

func (c *cli) versions(config string) int {
	c.t.Helper()
	all, err := c.Client.History(c.t.Context(), config, 100)
	if err != nil {
		c.t.Fatal(err)
	}
	return len(all)
}

// Whatever is wrong with a publication, nothing is stored.
func TestTruthARefusedPublicationStoresNothing(t *testing.T) {
	c := newCLI(t, 2)
	body := file(t, "a.json", `{"n": 1}`)
	next := file(t, "b.json", `{"n": 2}`)
	c.expect(0, nil, "publish", "a", body)
	c.expect(0, nil, "freeze", "a", "--reason", "sale", "--region", "eu")
	for _, try := range []struct {
		code int
		says string
		args []string
	}{
		{2, "neither a share", []string{"--wave", "foo"}},
		{2, "must be 100%", []string{"--wave", "5%"}},
		{2, "--wave 0%: a share of 0% has no host", []string{"--wave", "0%", "--wave", "100%"}},
		{1, `there is no plan "none"; nothing was stored`, []string{"--plan-name", "none"}},
		{3, `region "mars" is not in the trust policy, which has [eu us]; nothing was stored`, []string{"--region", "mars"}},
		{3, "no agent carries the label canary=yes; nothing was stored", []string{"--wave", "canary=yes:1m", "--wave", "100%"}},
		{3, "sale; nothing was stored", nil},
		{2, "--no-activate starts no rollout", []string{"--no-activate", "--region", "eu"}},
	} {
		c.expect(try.code, []string{try.says}, append([]string{"publish", "a", next}, try.args...)...)
		if n := c.versions("a"); n != 1 {
			t.Fatalf("publish %v: %d versions are stored", try.args, n)
		}
	}
	c.expect(0, []string{"version 2 published"}, "publish", "a", next, "--region", "us")
	c.expect(0, nil, "freeze", "a", "--lift", "--region", "eu")
	c.expect(0, nil, "lock", "a", "--reason", "audit")
	c.expect(3, []string{"locked", "nothing was stored"}, "publish", "a", body)
	c.expect(3, []string{"locked", "nothing was stored"}, "publish", "a", body, "--no-activate")
	if n := c.versions("a"); n != 2 {
		t.Errorf("%d versions are stored", n)
	}
}

// Identical content makes no version, no epoch and no reload.
func TestTruthIdenticalContentChangesNothing(t *testing.T) {
	c := newCLI(t, 2)
	body := file(t, "a.json", `{"n": 1}`)
	c.expect(0, []string{"version 1 published"}, "publish", "a", body)
	before := c.run("status", "a").stdout
	c.expect(0, []string{"a unchanged: version 1"}, "publish", "a", body)
	c.expect(0, []string{`"outcome": "unchanged"`}, "publish", "a", body, "-o", "json")
	if n := c.versions("a"); n != 1 {
		t.Errorf("%d versions are stored", n)
	}
	if after := c.run("status", "a").stdout; after != before {
		t.Errorf("the status changed from\n%sto\n%s", before, after)
	}
	c.expect(0, []string{"version 2 published"}, "publish", "a", body, "--force")
	c.shows("a", `{"n": 1}`)
	// One region runs something else: the content is not there yet.
	c.expect(0, nil, "publish", "a", file(t, "b.json", `{"n": 2}`), "--region", "us")
	c.expect(0, []string{"version 4 published"}, "publish", "a", body)
	c.shows("a", `{"n": 1}`)
}

// get and diff speak of the version that runs.
func TestTruthGetAndDiffSpeakOfTheRunningVersion(t *testing.T) {
	c := newCLI(t, 2)
	is := func(want string, args ...string) {
		t.Helper()
		if r := c.expect(0, nil, args...); r.stdout != want {
			t.Errorf("banyan %s printed %q, want %q", strings.Join(args, " "), r.stdout, want)
		}
	}
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`), "--no-activate")
	c.expect(1, []string{"a runs in no region", "--last"}, "get", "a")
	c.expect(1, []string{"a does not run in region us", "--last"}, "get", "a", "--region", "us")
	is(`{"n": 1}`, "get", "a", "--last")
	c.expect(0, nil, "publish", "a", file(t, "b.json", `{"n": 2}`))
	c.expect(0, []string{"identical"}, "diff", "a")
	c.expect(0, nil, "publish", "a", file(t, "c.json", `{"n": 3}`), "--no-activate")
	is(`{"n": 2}`, "get", "a")
	is(`{"n": 3}`, "get", "a", "--last")
	c.shows("a", `{"n": 2}`)
	c.expect(0, []string{`-{"n": 2}`, `+{"n": 3}`}, "diff", "a")
	c.expect(0, []string{`-{"n": 1}`, `+{"n": 2}`}, "diff", "a", "1")
	c.expect(0, []string{`-{"n": 1}`, `+{"n": 3}`}, "diff", "a", "1", "--last")
	c.expect(0, nil, "rollout", "start", "a", "3", "--region", "us", "--immediate")
	c.expect(5, []string{"eu runs version 2", "us runs version 3", "--region"}, "get", "a")
	is(`{"n": 3}`, "get", "a", "--region", "us")
	c.expect(2, []string{"choose one"}, "get", "a", "--region", "us", "--last")
}

// The exit code of publish is the fate of the version that it published.
func TestTruthAnExitCodeTellsTheFateOfTheVersion(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	bake := file(t, "plan.yaml", "waves: [{share: 50%, bake: 1h}, {share: 100%}]\n")
	waits := func(body string, meanwhile func()) result {
		t.Helper()
		ended := make(chan result, 1)
		before := c.versions("a")
		path := file(t, "x.json", body)
		go func() { ended <- c.run("publish", "a", path, "--plan", bake, "--wait", "2m") }()
		c.Until("the bake", func() bool {
			r, err := c.Client.Rollout(t.Context(), "a")
			return err == nil && r.Version == uint64(before+1) && r.Part == rollout.Baking
		})
		meanwhile()
		return <-ended
	}
	r := waits(`{"n": 2}`, func() { c.expect(0, nil, "publish", "a", file(t, "b.json", `{"n": 3}`)) })
	expect(t, r, 5, []string{"version 2 was superseded", "version 3"}, []string{"publish, superseded"})
	r = waits(`{"n": 4}`, func() { c.expect(0, nil, "rollback", "a", "-m", "no good") })
	expect(t, r, 6, []string{"taken back", "no good"}, []string{"publish, taken back"})
	c.shows("a", `{"n": 3}`)
}

// A version that is rolled back while its publisher waits for the hosts is not published.
func TestTruthAVersionThatIsRolledBackDuringTheWaitIsNotPublished(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	c.expect(0, nil, "publish", "a", file(t, "b.json", `{"n": 2}`))
	c.expect(0, nil, "rollback", "a", "-m", "bad")
	status, err := c.Client.ConfigStatus(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{}
	fate := a.fateOf(t.Context(), c.Client, "a", 2, status.Regions)
	if got := describe(fate); got.exit != exitTakenBack || !strings.Contains(got.Message, "rolled back by admin") {
		t.Errorf("fate of version 2: %+v", got)
	}
	c.expect(0, nil, "publish", "a", file(t, "c.json", `{"n": 3}`))
	status, err = c.Client.ConfigStatus(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(a.fateOf(t.Context(), c.Client, "a", 1, status.Regions)); got.exit != exitConflict {
		t.Errorf("fate of version 1: %+v", got)
	}
	if err := a.fateOf(t.Context(), c.Client, "a", 3, status.Regions); err != nil {
		t.Errorf("fate of version 3: %v", err)
	}
}

// The command of 3 a.m.: to what ran last and well, once, with the reason kept.
func TestTruthRollbackByTheCommandLine(t *testing.T) {
	c := newCLI(t, 2)
	for _, body := range []string{`{"n": 1}`, `{"n": 2}`, `{"n": 3}`} {
		c.expect(0, nil, "publish", "a", file(t, "a.json", body))
	}
	c.expect(0, []string{"a: back from version 3 to version 2, which ran"}, "rollback", "a", "-m", "checkout is broken")
	c.shows("a", `{"n": 2}`)
	c.expect(0, []string{"nothing changed", "already back", "checkout is broken", "--from 2"}, "rollback", "a")
	c.expect(0, []string{"nothing changed", "version 2 runs, not 3"}, "rollback", "a", "--from", "3")
	c.shows("a", `{"n": 2}`)
	c.expect(0, []string{"back from version 2 to version 1", "skipped"}, "rollback", "a", "--from", "2")
	c.shows("a", `{"n": 1}`)
	r := c.expect(0, []string{"WHEN", "admin", "rolled back", "checkout is broken"}, "log", "a")
	for _, what := range []string{"version 1 stored", "rollout 3: "} {
		if !strings.Contains(r.stdout, what) {
			t.Errorf("the log does not say %q:\n%s", what, r.stdout)
		}
	}
	var log struct{ Entries []api.LogEntry }
	if err := json.Unmarshal([]byte(c.expect(0, nil, "log", "--limit", "1", "-o", "json").stdout), &log); err != nil || len(log.Entries) != 1 {
		t.Errorf("log as JSON: %+v, %v", log, err)
	}
	c.expect(2, []string{"--since"}, "log", "--since", "yesterday")
	c.expect(0, []string{"version 3 stored"}, "log", "a")
	c.expect(0, nil, "log", "a", "--by", "nobody")
	c.expect(0, nil, "freeze", "later", "--reason", "not yet published")
	c.expect(0, []string{"not yet published"}, "log", "later")
	c.expect(1, []string{`there is no config "nope"`}, "log", "nope")
	c.expect(1, []string{"99"}, "rollback", "a", "--from", "99")
}

// Versions that were live while every host was away did not run. A rollback passes them over, also
// after the leader has started anew.
func TestTruthARollbackGoesToWhatHostsRan(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	c.shows("a", `{"n": 1}`)
	away := slices.Clone(c.Agents)
	for _, a := range away {
		c.StopAgent(a)
	}
	for _, body := range []string{`{"n": 2}`, `{"n": 3}`, `{"n": 4}`} {
		c.expect(7, nil, "publish", "a", file(t, "b.json", body), "--immediate", "--wait", "1ms")
	}
	if err := c.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	for i := range away {
		if _, err := c.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	c.Agents = c.Agents[len(away):]
	c.WaitShown("a", `{"n": 4}`)
	c.expect(0, []string{"back from version 4 to version 1", "skipped 3: replaced by version 4 before a host was known to run it"},
		"rollback", "a", "--wait", "1m")
	c.shows("a", `{"n": 1}`)
}

// A publication or a rollback that is said twice moves no pointer, and tells of the hosts what it
// would tell the first time.
func TestTruthSaidTwiceTellsTheFateOfTheHosts(t *testing.T) {
	c := newCLI(t, 4)
	one := file(t, "a.json", `{"n": 1}`)
	two := file(t, "b.json", `{"n": 2}`)
	c.expect(0, nil, "publish", "a", one)
	for _, i := range []int{0, 2} {
		c.StopAgent(c.Agents[i])
	}
	c.regionIs("no host of eu is heard of", "a", "eu", unheard(2))
	missing := "eu: 0 of 2 applied, 2 not heard of"
	for range 2 {
		c.expect(7, []string{missing}, "publish", "a", two, "--immediate", "--wait", "1s")
	}
	r := c.expect(7, []string{"a unchanged: version 2", missing, "0/2"}, "publish", "a", two, "--wait", "1s")
	c.expect(0, []string{"a unchanged"}, "publish", "a", two, "--wait", "0")
	c.expect(7, []string{missing}, "rollback", "a", "--wait", "1s")
	c.expect(7, []string{"nothing changed: already back", missing}, "rollback", "a", "--wait", "1s")
	c.expect(7, []string{"nothing changed: version 1 runs, not 2", missing}, "rollback", "a", "--from", "2", "--wait", "1s")
	if strings.Contains(r.stdout, "published") {
		t.Errorf("nothing was published:\n%s", r.stdout)
	}
	for _, i := range []int{0, 2} {
		if _, err := c.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	c.Agents = c.Agents[:4]
	c.expect(0, []string{"nothing changed: already back", "2/2"}, "rollback", "a", "--wait", "1m")
	c.expect(0, []string{"a unchanged: version 1", "2/2"}, "publish", "a", one, "--wait", "1m")
	c.shows("a", `{"n": 1}`)
}

// A rollout that brings the same content does not stand in for another plan that was asked for.
func TestTruthAnotherPlanForTheSameContentIsNotIgnored(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	next := file(t, "b.json", `{"n": 2}`)
	bakes := []string{"publish", "a", next, "--wave", "50%:1h", "--wave", "100%"}
	c.expect(0, []string{"version 2 published"}, bakes...)
	c.expect(0, []string{"a unchanged: rollout 2 of version 2"}, bakes...)
	c.expect(0, []string{"a unchanged: rollout 2 of version 2"}, "publish", "a", next, "--wait", "0")
	for _, plan := range [][]string{{"--immediate"}, {"--wave", "10%:1h", "--wave", "100%"}} {
		c.expect(5, []string{
			"rollout 2 of version 2, started by admin, brings the same content by another plan",
			"banyan rollout promote a --full", "nothing was stored",
		}, append([]string{"publish", "a", next}, plan...)...)
	}
	c.expect(0, nil, "rollout", "promote", "a", "--full")
	c.expect(0, nil, "publish", "a", next, "--wait", "1m")
	c.shows("a", `{"n": 2}`)
	c.expect(0, []string{"a unchanged: version 2"}, "publish", "a", next, "--immediate")
	if n := c.versions("a"); n != 2 {
		t.Errorf("%d versions are stored", n)
	}
}

// Two persons: a stored setting.
func TestTruthTwoPersonsIsAStoredSetting(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, []string{"no rollout needs"}, "policy", "two-persons")
	c.expect(0, []string{"pay", "audit"}, "policy", "two-persons", "on", "pay", "-m", "audit")
	if err := c.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	c.expect(0, []string{"pay", "audit", "admin"}, "policy", "two-persons")
	c.expect(0, []string{"waits for a second person"}, "publish", "pay/x", file(t, "a.json", "{}"))
	c.expect(5, []string{"another person must approve"}, "approve", "pay/x")
	c.expect(0, []string{"another person must ask"}, "policy", "two-persons", "off", "pay")
	c.expect(0, []string{"another person must ask"}, "policy", "two-persons", "off", "pay")
	c.expect(1, []string{"no second person"}, "policy", "two-persons", "off", "web")
}

// A region that was moved again during the wait does not run what the rollback brought.
func TestTruthARollbackThatWasOvertakenIsNoSuccess(t *testing.T) {
	back := api.RolledBack{Config: "a", Regions: []api.RegionBack{{Region: "eu", To: 1, Moved: true}}}
	if err := overtaken(back, []api.RegionStatus{{Region: "eu", Version: 1}, {Region: "us", Version: 9}}); err != nil {
		t.Errorf("every region runs what the rollback brought: %v", err)
	}
	err := overtaken(back, []api.RegionStatus{{Region: "eu", Version: 3, Epoch: 7}})
	if got := describe(err); got.exit != exitConflict || !strings.Contains(got.Message, "version 3 in region eu") {
		t.Errorf("%+v", got)
	}
}

// A region to which the config was brought back during the wait has not deleted it.
func TestTruthADeletionThatWasOvertakenIsNoSuccess(t *testing.T) {
	pointer := api.Pointer{Pointer: record.Pointer{Region: "eu", Epoch: 7}}
	deleted := api.Deleted{Config: "a", Pointers: []api.Pointer{pointer}}
	if err := broughtBack(deleted, []api.RegionStatus{{Region: "eu", Epoch: 8, Deleted: true}}); err != nil {
		t.Errorf("the config is deleted: %v", err)
	}
	err := broughtBack(deleted, []api.RegionStatus{{Region: "eu", Version: 3, Epoch: 8}})
	if got := describe(err); got.exit != exitConflict || !strings.Contains(got.Message, "not deleted in region eu") {
		t.Errorf("%+v", got)
	}
}

// Every kind of act is in the log, with who and why.
func TestTruthTheLogHasEveryKindOfAct(t *testing.T) {
	c := newCLI(t, 0)
	one := file(t, "a.json", `{"n": 1}`)
	plan := file(t, "plan.yaml", "waves: [{share: 100%, bake: 1h}]\n")
	for _, args := range [][]string{
		{"publish", "web/a", one, "--no-activate", "-m", "first flags"},
		{"schema", "set", "web/a", file(t, "s.json", `{"type": "object"}`)},
		{"schema", "remove", "web/a"},
		{"plan", "put", "careful", plan},
		{"plan", "default", "web", "careful"},
		{"plan", "default", "web"},
		{"plan", "delete", "careful"},
		{"freeze", "web", "--reason", "sale", "--for", "1h"},
		{"freeze", "web", "--lift"},
		{"lock", "web/a", "--reason", "audit"},
		{"unlock", "web/a"},
		{"rollout", "start", "web/a", "1", "--immediate", "-m", "go"},
		{"policy", "two-persons", "on", "web", "-m", "four eyes"},
	} {
		c.expect(0, nil, args...)
	}
	c.expect(0, []string{
		"admin",
		"version 1 stored", "first flags",
		"schema set", "schema removed",
		"default plan of web: careful", "default plan of web: none",
		"froze web until", "sale", "lifted the freeze of web",
		"locked web/a", "audit", "unlocked web/a",
		"rollout 1: rollout 1 of web/a version 1 started by admin", "go",
		"rollouts of web need two persons", "four eyes",
	}, "log", "web")
	c.expect(0, []string{"plan careful stored", "plan careful deleted"}, "log", "--by", "admin", "--since", "1h")
}

// A first version by standard input is checked as what the config's name says, or as what the body
// looks like.
func TestTruthBrokenJSONByStandardInputIsRefused(t *testing.T) {
	c := newCLI(t, 0)
	publish := func(config, body string, more ...string) result {
		args := append([]string{"--home", c.Home.Dir, "--coordinator", c.Coordinators[0].APIAddr(), "publish", config, "-", "--no-activate"}, more...)
		return runCLI(t, body, args...)
	}
	for config, body := range map[string]string{"app/x.json": "[1, 2", "app/y.json": "nothing", "app/z": "{\n\"a\": 1", "app/x.yaml": "a: ]"} {
		r := publish(config, body)
		expect(t, r, exitRejected, []string{"draft rejected at line", "--type sets another content type", "nothing was stored"}, []string{config})
		if got, err := c.Client.Configs(t.Context(), config); err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", config, got, err)
		}
	}
	expect(t, publish("app/z", "{\n\"a\": 1", "--type", "text/plain"), 0, nil, nil)
	expect(t, publish("app/x.json", "[1, 2]"), 0, nil, nil)
}

// rolloutIs waits until the newest rollout of a is as is says.
func (c *cli) rolloutIs(what string, is func(api.Rollout) bool) {
	c.t.Helper()
	c.Until(what, func() bool {
		r, err := c.Client.Rollout(c.t.Context(), "a")
		return err == nil && is(r)
	})
}

// A publication whose leader dies while it waits says what is stored, and that the rest is not known.
func TestTruthAPublicationWhoseLeaderDiesSaysWhatIsKnown(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	body := file(t, "b.json", `{"n": 2}`)
	ended := make(chan result, 1)
	go func() {
		ended <- c.run("publish", "a", body, "--wave", "50%:1h", "--wave", "100%", "--wait", "5m", "-o", "json")
	}()
	c.rolloutIs("version 2 bakes", func(r api.Rollout) bool {
		return r.Version == 2 && r.Status == rollout.Running && r.Part == rollout.Baking
	})
	c.StopCoordinator(0)
	says := []string{"version 2 is stored; what became of it is not known", "banyan status a", `"outcome": "unknown"`, `"version": 2`, `"code":"unknown"`}
	expect(t, <-ended, exitTimedOut, says, []string{"publish, and the leader dies"})
	if err := c.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	c.WaitCounted()
	c.Until("the leader writes", func() bool {
		s, err := c.Client.Status(t.Context())
		return err == nil && s.Waiting == ""
	})
	c.expect(0, []string{"version 2 is on its way"}, "status", "a")

	// The hosts are awaited after the rollout.
	for i, a := range c.Agents {
		c.StopAgent(a)
		c.regionIs("no host is heard of", "a", []string{"eu", "us"}[i], unheard(1))
	}
	go func() { ended <- c.run("publish", "a", file(t, "c.json", `{"n": 3}`), "--immediate", "--wait", "5m") }()
	c.rolloutIs("version 3 is out", func(r api.Rollout) bool { return r.Version == 3 && r.Status == rollout.Done })
	c.StopCoordinator(0)
	r := expect(t, <-ended, exitTimedOut, []string{"version 3 is stored; what became of it is not known"}, []string{"publish, and the leader dies later"})
	if strings.Contains(r.stdout+r.stderr, "REGION") {
		t.Errorf("no region is known:\n%s", r.stdout)
	}
}

// A publication says that nothing was stored if no request came to the coordinator.
func TestTruthAPublicationToAStoppedCoordinatorSaysThatNothingWasStored(t *testing.T) {
	c := newCLI(t, 0)
	body := file(t, "a.json", "{}")
	c.StopCoordinator(0)
	c.Until("the coordinator stops", func() bool { return c.run("status").code == exitUnreachable })
	c.expect(exitUnreachable, []string{"nothing was stored"}, "publish", "a", body)
	c.expect(exitUnreachable, []string{"nothing was changed"}, "rollback", "a")
	c.expect(exitUnreachable, []string{"nothing was changed"}, "delete", "a", "--yes")
	if err := c.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.Version(t.Context(), "a", 0); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("a version is stored: %v", err)
	}
}
