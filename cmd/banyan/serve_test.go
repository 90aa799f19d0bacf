package main

import "testing"

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
		"--head-interval is -1s":              {"coordinator", "--identity", "x", "--head-interval", "-1s"},
		"the flags do not state a valid plan": {"publish", "a", draft, "--stage-timeout", "-1s"},
		"--for is -1h0m0s":                    {"freeze", "--all", "--reason", "r", "--for", "-1h"},
		"say --all":                           {"freeze", "--reason", "r"},
	} {
		expect(t, runCLI(t, "", args...), exitUsage, []string{want, "hint: "}, args)
	}
}
