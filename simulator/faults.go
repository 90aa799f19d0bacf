package simulator

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/mesh/step"
	"banyan/record"
)

// Fault is something that goes wrong for a while.
type Fault struct {
	At   time.Duration // since the run began
	For  time.Duration // 0: until the end
	Kind string        // one of FaultKinds
	// Target says which hosts: "leader", "coordinator:REGION", "region:REGION",
	// "zone:REGION/N", "agent:REGION/N", "agents:SHARE%" or "relays:SHARE%".
	// Several can be given, with commas between.
	Target string
	To     string  // cut: the other side, as Target; "" for everyone else
	OneWay bool    // cut: only what Target sends to To is lost
	Factor float64 // slow: how many times slower, default 10; skew: seconds
}

// FaultKinds are the kinds of faults.
//
//	crash     the hosts die as by kill -9, and start again after For
//	cut       no packet passes between Target and To
//	slow      their processors and disks take Factor times as long
//	skew      their clocks jump Factor seconds ahead
//	disk      their disks refuse every write
//	withhold  they relay no announcement, and say nothing of it
//	forge     they alter every announcement that they relay
//	replay    they relay the oldest announcement instead of the newest
//	late      they relay announcements Factor seconds late, default 5
//	poison    the shards that they send are not what they should be
var FaultKinds = []string{"crash", "cut", "slow", "skew", "disk", "withhold", "forge", "replay", "late", "poison"}

// String shows a fault in a line.
func (f Fault) String() string {
	s := f.Kind + " " + f.Target
	if f.Kind == "cut" {
		arrow, to := " <-/-> ", f.To
		if f.OneWay {
			arrow = " --/-> "
		}
		if to == "" {
			to = "everyone else"
		}
		s += arrow + to
	}
	if f.Factor != 0 {
		s += fmt.Sprintf(" (%g)", f.Factor)
	}
	if f.For > 0 {
		s += " for " + f.For.String()
	}
	return s
}

// check reports a fault that can't be.
func (f Fault) check(cfg *Config) error {
	if !slices.Contains(FaultKinds, f.Kind) {
		return fmt.Errorf("%w: fault of kind %q; there are %s", record.ErrInvalid, f.Kind, strings.Join(FaultKinds, ", "))
	}
	if f.At < 0 || f.For < 0 {
		return fmt.Errorf("%w: fault %q begins or lasts less than nothing", record.ErrInvalid, f)
	}
	if f.Kind != "cut" && (f.To != "" || f.OneWay) {
		return fmt.Errorf("%w: fault %q: only a cut has another side", record.ErrInvalid, f)
	}
	if _, err := parseTargets(f.Target, cfg); err != nil || f.To == "" {
		return err
	}
	_, err := parseTargets(f.To, cfg)
	return err
}

// target selects hosts.
type target struct {
	kind   string
	region int
	n      int
	share  float64
}

func parseTargets(text string, cfg *Config) (all []target, err error) {
	for part := range strings.SplitSeq(text, ",") {
		t, err := parseTarget(strings.TrimSpace(part), cfg)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func parseTarget(text string, cfg *Config) (target, error) {
	kind, rest, _ := strings.Cut(text, ":")
	t := target{kind: kind, region: -1}
	bad := func(why string) (target, error) {
		return t, fmt.Errorf("%w: target %q: %s", record.ErrInvalid, text, why)
	}
	switch kind {
	case "leader":
		return t, nil
	case "agents", "relays":
		share, err := strconv.ParseFloat(strings.TrimSuffix(rest, "%"), 64)
		if err != nil || !strings.HasSuffix(rest, "%") || !(share > 0 && share <= 100) {
			return bad("a share such as 30% belongs behind the colon")
		}
		t.share = share / 100
		return t, nil
	case "coordinator", "region", "zone", "agent":
	default:
		return bad("use leader, coordinator:REGION, region:REGION, zone:REGION/N, agent:REGION/N, agents:SHARE% or relays:SHARE%")
	}
	region, number, numbered := strings.Cut(rest, "/")
	if t.region = cfg.Network.Matrix.Index(region); t.region < 0 {
		return bad("there is no region " + strconv.Quote(region) + "; there are " + strings.Join(cfg.Network.Matrix.Regions, ", "))
	}
	if kind == "coordinator" || kind == "region" {
		return t, nil
	}
	limit := cfg.Zones
	if kind == "agent" {
		limit = cfg.Agents[t.region]
	}
	n, err := strconv.Atoi(number)
	if !numbered || err != nil || n < 0 || n >= limit {
		return bad(fmt.Sprintf("a number from 0 to %d belongs behind the slash", limit-1))
	}
	t.n = n
	return t, nil
}

// selected lists the hosts that a target names now.
func (w *World) selected(text string, r *rand.Rand) []int32 {
	targets, err := parseTargets(text, &w.cfg)
	if err != nil {
		panic(err) // it was checked
	}
	var all []int32
	number := -1
	last := int16(-1)
	for i := range w.hosts {
		h := &w.hosts[i]
		agent := !w.isRoot(int32(i))
		if agent && h.region != last {
			number, last = -1, h.region
		}
		if agent {
			number++
		}
		if slices.ContainsFunc(targets, func(t target) bool { return t.names(h, i, agent, number, r) }) {
			all = append(all, int32(i))
		}
	}
	return all
}

// names tells whether a target is host i, which is the agent of that number in its
// region, or no agent.
func (t target) names(h *host, i int, agent bool, number int, r *rand.Rand) bool {
	switch t.kind {
	case "leader":
		return i == 0
	case "coordinator":
		return !agent && int(h.region) == t.region
	case "region":
		return int(h.region) == t.region
	case "zone":
		return int(h.region) == t.region && int(h.zone) == t.n
	case "agent":
		return agent && int(h.region) == t.region && number == t.n
	case "agents":
		return agent && !h.down && r.Float64() < t.share
	}
	return agent && !h.down && h.node.Children() > 0 && r.Float64() < t.share // relays
}

// strike lets a fault happen at its time after start, and end. n is its number
// among the faults of a run: its choices depend on the seed and n alone, so that
// taking other faults away does not change it.
func (w *World) strike(f Fault, start step.Time, n int, note func(string)) {
	at := start.Add(f.At)
	w.call(at, func() {
		r := rand.New(rand.NewPCG(w.cfg.Seed, uint64(n)+0x6661756c74))
		hosts := w.selected(f.Target, r)
		undo := w.begin(f, hosts, r)
		note(fmt.Sprintf("%s: %d hosts", f, len(hosts)))
		if w.trace != nil {
			w.trace("FAULT %s: %d hosts", f, len(hosts))
		}
		if f.For > 0 {
			w.call(at.Add(f.For), func() {
				undo()
				note("end of " + f.Kind + " " + f.Target)
				if w.trace != nil {
					w.trace("END of fault %s", f)
				}
			})
		}
	})
}

// begin starts a fault on hosts and returns what ends it.
func (w *World) begin(f Fault, hosts []int32, r *rand.Rand) (undo func()) {
	set := func(on, off func(h *host)) func() {
		for _, i := range hosts {
			on(&w.hosts[i])
		}
		return func() {
			for _, i := range hosts {
				off(&w.hosts[i])
			}
		}
	}
	switch f.Kind {
	case "crash":
		for _, i := range hosts {
			w.Crash(i)
		}
		return func() {
			for _, i := range hosts {
				w.Start(i)
			}
		}
	case "cut":
		return w.cutBetween(f, hosts, r)
	case "slow":
		factor := f.Factor
		if factor == 0 {
			factor = 10
		}
		return set(func(h *host) { h.slow = factor }, func(h *host) { h.slow = 0 })
	case "skew":
		d := time.Duration(f.Factor * float64(time.Second))
		return set(func(h *host) { h.skew += d }, func(h *host) { h.skew -= d })
	case "disk":
		return set(func(h *host) { h.broken = true }, func(h *host) { h.broken = false })
	}
	if f.Kind == "late" {
		late := time.Duration(cmp.Or(f.Factor, 5) * float64(time.Second))
		return set(func(h *host) { h.late = late }, func(h *host) { h.late = 0 })
	}
	lie := map[string]byzantine{"withhold": withholds, "forge": forges, "replay": replays, "poison": poisons}[f.Kind]
	return set(func(h *host) { h.fault = lie }, func(h *host) { h.fault = honest })
}

func (w *World) cutBetween(f Fault, hosts []int32, r *rand.Rand) func() {
	here := make(map[*host]bool, len(hosts))
	for _, i := range hosts {
		here[&w.hosts[i]] = true
	}
	there := func(h *host) bool { return !here[h] }
	if f.To != "" {
		far := map[*host]bool{}
		for _, i := range w.selected(f.To, r) {
			far[&w.hosts[i]] = true
		}
		there = func(h *host) bool { return far[h] && !here[h] }
	}
	return w.cut(&partition{from: func(h *host) bool { return here[h] }, to: there, oneWay: f.OneWay})
}
