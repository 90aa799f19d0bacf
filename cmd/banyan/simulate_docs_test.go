package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"banyan/simulator/scenario"
	"banyan/simulator/world"
)

// simulatorManual returns the text of docs/simulator.md.
func simulatorManual(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// simulateRoot returns the whole command tree, without output.
func simulateRoot() *cobra.Command {
	root := newRoot(&app{stdout: io.Discard, stderr: io.Discard})
	root.SilenceErrors = true
	return root
}

// Every command line in the manual names a command and flags that exist.
func TestTheSimulatorManualsCommandsExist(t *testing.T) {
	lines := regexp.MustCompile(`(?m)^banyan .*$`).FindAllString(simulatorManual(t), -1)
	if len(lines) < 8 {
		t.Fatalf("the manual has %d command lines", len(lines))
	}
	for _, line := range lines {
		line, _, _ = strings.Cut(line, "#")
		args := strings.Fields(line)[1:]
		cmd, rest, err := simulateRoot().Find(args)
		if err != nil || len(cmd.Commands()) > 0 && cmd.Name() != "simulate" {
			t.Errorf("%s: no such command (%v)", line, err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if cmd.Name() == "run" {
			if _, err := scenario.Load(cmd.Flags().Arg(0)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// Every flag that the manual names belongs to a simulate or bench command.
func TestTheSimulatorManualsFlagsExist(t *testing.T) {
	known := map[string]bool{}
	for _, name := range []string{"simulate", "bench"} {
		cmd, _, err := simulateRoot().Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append(cmd.Commands(), cmd) {
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(c.UsageString(), -1) {
				known[flag] = true
			}
		}
	}
	for _, flag := range regexp.MustCompile("--[a-z-]+").FindAllString(simulatorManual(t), -1) {
		if !known[flag] && strings.Trim(flag, "-") != "" {
			t.Errorf("no command has the flag %s", flag)
		}
	}
}

// The manual names every scenario, kind of fault, metric and matrix, and every file that it
// links exists.
func TestTheSimulatorManualIsComplete(t *testing.T) {
	manual := simulatorManual(t)
	var names []string
	names = append(names, scenario.Names()...)
	names = append(names, scenario.Metrics()...)
	names = append(names, world.Presets()...)
	for _, kind := range world.FaultKinds() {
		names = append(names, string(kind))
	}
	for _, name := range names {
		if !strings.Contains(manual, "`"+name+"`") {
			t.Errorf("the manual does not name `%s`", name)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)`).FindAllStringSubmatch(manual, -1) {
		if _, err := os.Stat(filepath.Join("../../docs", link[1])); err != nil {
			t.Errorf("dead link: %v", err)
		}
	}
	// A name in the list of scenarios that the library lacks.
	list := regexp.MustCompile(`(?s)starting points: (.*?)\. If`).FindStringSubmatch(manual)
	if list == nil {
		t.Fatal("the manual has no list of scenarios")
	}
	for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(list[1], -1) {
		if !slices.Contains(scenario.Names(), name[1]) {
			t.Errorf("the library has no scenario %s", name[1])
		}
	}
}

// The defaults in the manual are those of the code.
func TestTheSimulatorManualsDefaultsAreTheCodes(t *testing.T) {
	cfg := world.Config{Agents: []int{1}}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	ms := func(d interface{ Seconds() float64 }) string { return fmt.Sprintf("%.3g ms", d.Seconds()*1000) }
	us := func(d interface{ Seconds() float64 }) string { return fmt.Sprintf("%.3g µs", d.Seconds()*1e6) }
	c := cfg.Costs
	for row, want := range map[string]string{
		"within a region": ms(cfg.Network.Zone) + " and " + ms(cfg.Network.CrossAZ),
		"loss":            "1.5 round trips and " + ms(cfg.Network.AckDelay),
		"processor": fmt.Sprintf("Receive %s, send %s, verify %s, connect %s",
			us(c.Receive), us(c.Send), us(c.Verify), us(c.Connect)),
		"disk":            fmt.Sprintf("apply takes %s, a durable write of a body %s", ms(c.Apply), ms(c.Store)),
		"commit":          "synchronous write of " + ms(cfg.CommitDisk),
		"bodies":          fmt.Sprintf("at most %d KiB", cfg.PushLimit>>10),
		"heads":           fmt.Sprintf("| %g s |", world.DefaultHeads.Seconds()),
		"broken links":    fmt.Sprintf("| %g s |", cfg.Idle.Seconds()),
		"between regions": "| `" + world.DefaultMatrix + "` |",
	} {
		line := regexp.MustCompile(`(?m)^\| ` + row + ` \|.*$`).FindString(simulatorManual(t))
		if !strings.Contains(line, want) {
			t.Errorf("row %q of the manual lacks %q: %s", row, want, line)
		}
	}
	if want := fmt.Sprintf("| %d KiB (`--body`) |", cfg.BodyBytes>>10); !strings.Contains(simulatorManual(t), want) {
		t.Errorf("the manual lacks %q", want)
	}
}
