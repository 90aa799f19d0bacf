package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"banyan/agent"
	"banyan/internal/fleet"
)

// twoNetworks makes two network namespaces with a cable between them, and returns
// their names and what pulls and plugs the cable.
func twoNetworks(t *testing.T) (here, there string, cable func(up bool)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip command on this machine; Debian's package is iproute2")
	}
	here, there = fmt.Sprintf("banyan-a-%d", os.Getpid()), fmt.Sprintf("banyan-b-%d", os.Getpid())
	ip := func(args ...string) error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	t.Cleanup(func() {
		ip("netns", "del", here)
		ip("netns", "del", there)
	})
	for _, ns := range []string{here, there} {
		if err := ip("netns", "add", ns); err != nil {
			t.Skip("no right to make network namespaces: ", err)
		}
	}
	for _, args := range [][]string{
		{"-n", here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", there},
		{"-n", here, "addr", "add", "10.77.0.1/24", "dev", "cable"},
		{"-n", there, "addr", "add", "10.77.0.2/24", "dev", "cable"},
		{"-n", here, "link", "set", "lo", "up"}, {"-n", there, "link", "set", "lo", "up"},
		{"-n", here, "link", "set", "cable", "up"}, {"-n", there, "link", "set", "cable", "up"},
	} {
		if err := ip(args...); err != nil {
			t.Skip("no right to set up network namespaces: ", err)
		}
	}
	return here, there, func(up bool) {
		state := map[bool]string{true: "up", false: "down"}[up]
		if err := ip("-n", there, "link", "set", "cable", state); err != nil {
			t.Fatal(err)
		}
	}
}

// A part of a region is cut off, for real: it serves what it has, says how stale it
// is, and catches up when the cut heals.
func TestAPartOfARegionThatIsCutOffCatchesUp(t *testing.T) {
	here, there, cable := twoNetworks(t)
	h := newHome(t, "eu")
	const address = "10.77.0.1"
	leader := startIn(t, here, "coordinator", "--identity", h.CoordinatorDir("eu"), "--data-dir", t.TempDir(), "--listen", address+":7400",
		"--api-listen", address+":7401", "--gossip-listen", address+":7403", "--gossip-wan-listen", address+":7404", "--head-interval", "200ms",
		"--activation-key", h.ActivationKey("eu"))
	leader.waitLog("coordinator runs")
	near := startHostIn(t, here, address, h, "eu", "near", address+":7400")
	far := []*host{startHostIn(t, there, "10.77.0.2", h, "eu", "far-1", address+":7400"), startHostIn(t, there, "10.77.0.2", h, "eu", "far-2", address+":7400")}

	// A staged rollout would wait for the hosts that are cut off.
	publish := func(n int) string {
		t.Helper()
		body := fmt.Sprintf(`{"v": %d}`, n)
		cmd := command(here, "--home", h.Dir, "--coordinator", address+":7401", "publish", "web/flags", "-", "--type", "application/json", "--immediate", "--wait", "0")
		cmd.Stdin = strings.NewReader(body)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("publish: %v\n%s", err, out)
		}
		return body
	}
	first := publish(1)
	for _, a := range append(far, near) {
		a.waitValue(t, "web/flags", first)
	}
	cable(false)
	second := publish(2)
	near.waitValue(t, "web/flags", second)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, a := range far {
		err := fleet.Poll(ctx, 50*time.Millisecond, func() (bool, error) {
			var s agent.Status
			_, body := a.body(t, "/v1/status")
			return json.Unmarshal([]byte(body), &s) == nil && s.Staleness > 3, nil
		})
		if err != nil {
			t.Fatal("a host that is cut off does not say that it is stale: ", err)
		}
		a.waitValue(t, "web/flags", first)
	}
	third := publish(3)
	cable(true)
	for _, a := range far {
		a.waitValue(t, "web/flags", third)
	}
}
