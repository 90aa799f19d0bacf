package main

import (
	"strings"
	"testing"
)

// A daemon that lacks a setting is a mistake on the command line: exit code 2, and a text that
// names the flag.
func TestADaemonWithoutARequiredFlagIsAUsageError(t *testing.T) {
	for want, args := range map[string][]string{
		"--join is required: the address of a coordinator, host:7400": {"agent"},
		"--identity is required: the bundle of this agent":            {"agent", "--join", "127.0.0.1:7400"},
		"--identity is required: the bundle of this coordinator":      {"coordinator"},
	} {
		expect(t, runCLI(t, "", args...), exitUsage, []string{want, "hint: "}, args)
	}
}

func TestASettingThatCannotBeIsAUsageError(t *testing.T) {
	h := newHome(t, "eu")
	bundle := issueAgent(t, h, "eu", "host-1")
	base := []string{"agent", "--identity", bundle, "--join", "127.0.0.1:7400", "--output-dir", t.TempDir(), "--state-dir", t.TempDir()}
	for want, more := range map[string][]string{
		"nothing to do": {"--relay-only", "--leaf"},
		"cache limit":   {"--cache-limit", "1KiB"},
		"loopback":      {"--local-api", "192.0.2.1:80", "--listen", "127.0.0.1:0"},
	} {
		args := append(append([]string{}, base...), more...)
		expect(t, runCLI(t, "", args...), exitUsage, []string{want}, args)
	}
	hooks := file(t, "hooks.yaml", "hooks: [{config: a, check: {}}]")
	args := append(append([]string{}, base...), "--hooks", hooks)
	expect(t, runCLI(t, "", args...), exitRejected, []string{"invalid hooks", "command is required"}, args)
}

// What a command line can't mean is refused before anything is stored or started.
func TestACommandLineThatCannotBeIsAUsageError(t *testing.T) {
	draft := file(t, "flags.json", "{}")
	for want, args := range map[string][]string{
		`banyan plan has no subcommand "nosuch"`:    {"plan", "nosuch"},
		`banyan rollout has no subcommand "nosuch"`: {"rollout", "nosuch"},
		"--agents is -1":                      {"dev", "--agents", "-1"},
		"the flags do not state a valid plan": {"publish", "a", draft, "--wave", "50%"},
		"--for is -1h0m0s":                    {"freeze", "--all", "--reason", "r", "--for", "-1h"},
		"say --all":                           {"freeze", "--reason", "r"},
	} {
		expect(t, runCLI(t, "", args...), exitUsage, []string{want, "hint: "}, args)
	}
}

// A zero that would silently become the default, and a negative number, are usage errors, in flags
// and in settings.
func TestTruthAFlagTakesWhatItSays(t *testing.T) {
	small := map[string][]string{
		"publish a -":       {"parent 0", "stage-share 0%", "stage-timeout 0s", "stage-timeout -1s", "min-success 0%", "max-gone 0%", "max-skew 0s", "wave-timeout 0s", "max-failures -1", "wait -1s"},
		"rollout start a 1": {"wave-timeout 0", "min-success 0.0%"},
		"rollout abort a":   {"rollout 0"},
		"rollback a":        {"to 0", "from 0", "wait -1s"},
		"get a":             {"version 0"},
		"history a":         {"limit 0", "limit -1"},
		"log":               {"limit 0"},
		"shards a":          {"version 0", "wait 0s"},
		"store recover":     {"wait 0s"},
		"coordinator":       {"fanout 0", "fanout -1", "max-depth -1", "cell -1", "head-interval 0s", "head-interval -1s", "disk-reserve 0", "disk-reserve 20971519"},
		"agent":             {"keep 0", "keep -1", "max-children -1", "disk-reserve 0", "disk-reserve 2621439"},
	}
	for command, flags := range small {
		for _, flag := range flags {
			name, value, _ := strings.Cut(flag, " ")
			args := append(strings.Fields(command), "--"+name, value)
			want := "--" + name + ": " + value + " is too small; "
			expect(t, runCLI(t, "", args...), exitUsage, []string{want}, args)
		}
	}
	t.Setenv("BANYAN_FANOUT", "-1")
	expect(t, runCLI(t, "", "coordinator"), exitUsage, []string{"environment BANYAN_FANOUT: -1 is too small"}, nil)
}

// The gates that a plan's file can state can be stated by flags.
func TestTruthAPlanByFlagsSaysHowManyHostsMayBeMissing(t *testing.T) {
	c := newCLI(t, 2)
	c.StopAgent(c.Agents[0])
	c.Until("the host of eu is not heard of", func() bool { return strings.Contains(c.run("agents", "--all").stdout, "-") })
	in := []string{"--no-activate", "--max-unheard", "0%"}
	c.expect(2, []string{"--no-activate starts no rollout"}, append([]string{"publish", "a", file(t, "a.json", "{}")}, in...)...)
	c.expect(0, nil, "publish", "a", file(t, "a.json", "{}"), "--max-unheard", "0%", "--max-gone", "5%", "--wait", "0")
	r, err := c.Client.Rollout(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	gates := r.Plan.Waves[0].Gates
	if gates.MaxUnheard == nil || *gates.MaxUnheard != 0 || gates.MaxGone != 0.05 {
		t.Errorf("the plan has the gates %+v", gates)
	}
}
