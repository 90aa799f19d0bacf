package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/rollout"
)

// regionsText returns what status prints of regions.
func regionsText(config string, regions ...api.RegionStatus) string {
	var b bytes.Buffer
	printRegions(&b, config, regions)
	return b.String()
}

// A rollout that was lost with the leader's store is not on its way, although hosts run its candidate.
// Status says so, and what it says to do brings every host back.
func TestTruthACandidateWithoutARolloutIsNotOnItsWay(t *testing.T) {
	c := newCLI(t, 4)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	data := filepath.Join(c.Config.Dir, "coordinator-eu")
	backup := filepath.Join(t.TempDir(), "backup")
	restart := func(fn func() error) {
		t.Helper()
		err := c.RestartCoordinatorAfter(0, func() {
			if err := fn(); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		c.WaitAttached()
		c.WaitCounted()
	}
	restart(func() error { return os.CopyFS(backup, os.DirFS(data)) })
	c.expect(0, nil, "publish", "a", file(t, "b.json", `{"n": 2}`), "--wave", "50%:1h", "--wave", "100%", "--region", "eu")
	c.rolloutIs("version 2 bakes", func(r api.Rollout) bool { return r.Version == 2 && r.Part == rollout.Baking })
	c.expect(0, []string{"eu: version 2 is on its way (50%), 1 host runs it"}, "status", "a")
	restart(func() error {
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		return os.CopyFS(data, os.DirFS(backup))
	})
	c.expect(0, []string{"recovered; term 2 began"}, "store", "recover", "--wait", "5s")
	c.regionIs("a host of eu runs version 2", "a", "eu", func(r api.RegionStatus) bool { return r.Running == 1 })
	r := c.expect(0, []string{"eu: 1 host runs version 2 (50%), which no rollout brings: 'banyan rollback a' brings every host to version 1"},
		"status", "a")
	if strings.Contains(r.stdout, "on its way") {
		t.Errorf("nothing is on its way:\n%s", r.stdout)
	}
	c.expect(0, []string{"back from version 2 to version 1"}, "rollback", "a", "--region", "eu", "--wait", "1m")
	c.shows("a", `{"n": 1}`)
}

// The first version of a config that was taken back is not on its way. Nothing runs.
func TestTruthAFirstVersionThatWasTakenBackIsNotOnItsWay(t *testing.T) {
	c := newCLI(t, 4)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`), "--wave", "50%:1h", "--wave", "100%")
	c.WaitBaking("a")
	c.expect(0, nil, "rollout", "abort", "a")
	r := c.expect(0, []string{"eu: version 1 was taken back, and no version ran before it"}, "status", "a")
	if strings.Contains(r.stdout, "on its way") {
		t.Errorf("nothing is on its way:\n%s", r.stdout)
	}
}

// Hosts that fail for one reason share a line, and an empty list says so.
func TestTruthTablesSayWhatTheyLack(t *testing.T) {
	var failures []api.Failure
	for _, name := range []string{"h1", "h2", "h3", "h4", "h5"} {
		failures = append(failures, api.Failure{Agent: name, Reason: "check: exit status 1"})
	}
	failures = append(failures, api.Failure{Agent: "h6", Reason: "disk is full", Delayed: true})
	text := regionsText("a", api.RegionStatus{Region: "eu", Failures: failures})
	for _, want := range []string{"failed: 5 hosts (h1, h2, h3 and 2 more): check: exit status 1\n", "delayed: h6: disk is full\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q:\n%s", want, text)
		}
	}
	c := newCLI(t, 0)
	for command, says := range map[string]string{
		"drift":          "no host reports a changed file\n",
		"quarantine":     "no agent is in quarantine\n",
		"freeze":         "nothing is frozen or locked\n",
		"plan list":      "no plan is stored\n",
		"rollout status": "no rollout was started yet\n",
		"agents --all":   "the inventory is empty\n",
	} {
		if r := c.expect(0, nil, strings.Fields(command)...); r.stdout != says {
			t.Errorf("banyan %s: %q, want %q", command, r.stdout, says)
		}
	}
	c.expect(0, nil, "publish", "a", file(t, "a.json", "{}"), "--no-activate")
	c.expect(0, []string{"runs in no region"}, "status", "a")
}

// A latency that is not known is not 0.0.
func TestTruthALatencyThatIsNotKnownIsNotZero(t *testing.T) {
	text := regionsText("a",
		api.RegionStatus{Region: "eu", Epoch: 1, Version: 1, Hosts: 2},
		api.RegionStatus{Region: "us", Epoch: 1, Version: 1, Hosts: 2, Applied: 2, Latency: &api.Latency{P50Ms: 1, P99Ms: 2, MaxMs: 3}})
	for _, want := range []string{"eu\t1\t1\t0/2\t0\t-\t-\t-\n", "us\t1\t1\t2/2\t0\t1.0\t2.0\t3.0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q:\n%s", want, text)
		}
	}

	c := newCLI(t, 1)
	c.expect(0, nil, "publish", "a", file(t, "a.json", `{"n": 1}`))
	var s api.ConfigStatus
	raw := c.expect(0, nil, "status", "a", "-o", "json").stdout
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Regions {
		if told := r.Latency != nil; told != (r.Applied > 0) {
			t.Errorf("%d hosts of %s run it, and the latency is %+v", r.Applied, r.Region, r.Latency)
		}
	}
}
