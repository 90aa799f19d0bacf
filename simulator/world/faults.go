package world

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/mesh/step"
)

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults.
const (
	// FaultCrash kills the hosts as kill -9 does. They start again after Fault.For.
	FaultCrash FaultKind = "crash"
	// FaultCut lets no packet pass between Fault.Target and Fault.To.
	FaultCut FaultKind = "cut"
	// FaultSlow makes the processors and disks of the hosts Fault.Factor times slower.
	FaultSlow FaultKind = "slow"
	// FaultSkew sets the clocks of the hosts Fault.Factor seconds ahead.
	FaultSkew FaultKind = "skew"
	// FaultDisk makes the disks of the hosts refuse every write.
	FaultDisk FaultKind = "disk"
	// FaultWithhold makes the hosts relay no announcement and acknowledge as if they did.
	FaultWithhold FaultKind = "withhold"
	// FaultForge makes the hosts alter every announcement that they relay.
	FaultForge FaultKind = "forge"
	// FaultReplay makes the hosts relay the oldest announcement instead of the newest.
	FaultReplay FaultKind = "replay"
	// FaultLate makes the hosts relay announcements Fault.Factor seconds late.
	FaultLate FaultKind = "late"
	// FaultPoison makes the hosts send shards with wrong bytes.
	FaultPoison FaultKind = "poison"
	// FaultRestore replaces the store of the leader by a copy that is Fault.Factor seconds old
	// (default 10). If Fault.Careless is set, the term of the store is raised only when the
	// fault ends.
	FaultRestore FaultKind = "restore"
	// FaultRival makes a follower lead, too, on a copy of the leader's store. At the end of the
	// fault, the follower follows again, and the leader's store begins a new term.
	FaultRival FaultKind = "rival"
	// FaultClone starts another host with the identity and the disk of each agent.
	FaultClone FaultKind = "clone"
	// FaultEdit changes every file that the hosts show.
	FaultEdit FaultKind = "edit"
	// FaultWipe deletes every body on the hosts. The pointers stay.
	FaultWipe FaultKind = "wipe"
	// FaultChatter makes the hosts withhold news, and send old heads and pointers all the time.
	FaultChatter FaultKind = "chatter"
	// FaultRestart kills each host every Fault.Factor seconds (default 60), and starts it again.
	FaultRestart FaultKind = "restart"
)

// FaultKinds returns all kinds of faults. The order is fixed: hostile histories draw
// kinds by their place in it.
func FaultKinds() []FaultKind {
	return []FaultKind{
		FaultCrash,
		FaultCut,
		FaultSlow,
		FaultSkew,
		FaultDisk,
		FaultWithhold,
		FaultForge,
		FaultReplay,
		FaultLate,
		FaultPoison,
		FaultRestore,
		FaultRival,
		FaultClone,
		FaultEdit,
		FaultWipe,
		FaultChatter,
		FaultRestart,
	}
}

// Fault is something that goes wrong for a while.
type Fault struct {
	// At is when the fault begins, since the start of the run.
	At time.Duration
	// For is how long the fault lasts; 0 means until the end of the run.
	For  time.Duration
	Kind FaultKind
	// Target selects the hosts: "leader", "coordinator:REGION", "region:REGION",
	// "zone:REGION/N", "agent:REGION/N", "agents:SHARE%" or "relays:SHARE%". Several
	// targets are separated by commas.
	Target string
	// To is the other side of a cut, written like Target; "" means every other host.
	To string
	// OneWay limits a cut to what Target sends to To.
	OneWay bool
	// Factor is how many times slower a slow host is (default 10), the seconds of a
	// skew, the seconds by which a late relay is late (default 5), the age of a backup in
	// seconds (default 10), or the seconds between two restarts (default 60).
	Factor float64
	// Careless reports that a store is restored or copied without a new term.
	Careless bool
}

// String returns the fault in one line, such as "cut region:eu <-/-> everyone else for 5s".
func (f Fault) String() string {
	s := string(f.Kind) + " " + f.Target
	if f.Kind == FaultCut {
		arrow, to := " <-/-> ", f.To
		if f.OneWay {
			arrow = " --/-> "
		}
		if to == "" {
			to = "everyone else"
		}
		s += arrow + to
	}
	if f.Careless {
		s += " without a new term"
	}
	if f.Factor != 0 {
		s += fmt.Sprintf(" (%g)", f.Factor)
	}
	if f.For > 0 {
		s += " for " + f.For.String()
	}
	return s
}

// Check returns an error for a fault that is not possible on the fleet of cfg.
func (f Fault) Check(cfg *Config) error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("%w: fault of kind %q; the kinds are %q", ErrInvalid, f.Kind, FaultKinds())
	}
	if f.At < 0 || f.For < 0 {
		return fmt.Errorf("%w: fault %q has a negative time", ErrInvalid, f)
	}
	if f.Careless && f.Kind != FaultRestore && f.Kind != FaultRival {
		return fmt.Errorf("%w: fault %q: only a restore or a rival is careless", ErrInvalid, f)
	}
	if f.Kind != FaultCut && (f.To != "" || f.OneWay) {
		return fmt.Errorf("%w: fault %q: only a cut has another side, 'to' and 'oneWay'", ErrInvalid, f)
	}
	if _, err := parseTargets(f.Target, cfg); err != nil || f.To == "" {
		return err
	}
	_, err := parseTargets(f.To, cfg)
	return err
}

// target is one part of a Fault.Target.
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
		return t, fmt.Errorf("%w: target %q: %s", ErrInvalid, text, why)
	}
	switch kind {
	case "leader":
		return t, nil
	case "agents", "relays":
		share, err := strconv.ParseFloat(strings.TrimSuffix(rest, "%"), 64)
		if err != nil || !strings.HasSuffix(rest, "%") || !(share > 0 && share <= 100) {
			return bad("write a share behind the colon, such as 30%")
		}
		t.share = share / 100
		return t, nil
	case "coordinator", "region", "zone", "agent":
	default:
		return bad("use leader, coordinator:REGION, region:REGION, zone:REGION/N, agent:REGION/N, " +
			"agents:SHARE% or relays:SHARE%")
	}
	region, number, numbered := strings.Cut(rest, "/")
	t.region = cfg.Network.Matrix.Index(region)
	if t.region < 0 {
		return bad(fmt.Sprintf("there is no region %q; the regions are %s",
			region, strings.Join(cfg.Network.Matrix.Regions, ", ")))
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
		return bad(fmt.Sprintf("write a number from 0 to %d behind the slash", limit-1))
	}
	t.n = n
	return t, nil
}

// selected returns the hosts that a Fault.Target names now. r decides about shares.
func (w *World) selected(text string, r *rand.Rand) []int32 {
	targets, err := parseTargets(text, &w.cfg)
	if err != nil {
		panic(err) // Fault.Check has accepted the target
	}
	var all []int32
	number := -1
	last := int16(-1)
	for i := range w.hosts[:len(w.hosts)-w.cfg.Clones] {
		h := &w.hosts[i]
		agent := !w.IsCoordinator(int32(i))
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

// names reports whether the target names host i. agent reports whether the host is an
// agent, and number is the agent's number in its region.
func (t target) names(h *Host, i int, agent bool, number int, r *rand.Rand) bool {
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

// Strike schedules a fault: the fault begins at start + f.At and ends after f.For. n is the
// number of the fault in the run. The random choices of a fault depend only on the seed and
// n, so a fault stays the same if other faults are left out. note is called with a line
// when the fault begins and when it ends.
func (w *World) Strike(f Fault, start step.Time, n int, note func(string)) {
	at := start.Add(f.At)
	var backup *store
	if f.Kind == FaultRestore {
		age := time.Duration(cmp.Or(f.Factor, defaultAge) * float64(time.Second))
		w.At(at.Add(-age), func() { backup = w.store().backup() })
	}
	w.At(at, func() {
		r := rand.New(rand.NewPCG(w.cfg.Seed, uint64(n)+0x6661756c74))
		hosts := w.selected(f.Target, r)
		undo := w.begin(f, hosts, r, backup)
		note(fmt.Sprintf("%s: %d hosts", f, len(hosts)))
		if w.trace != nil {
			w.trace("FAULT %s: %d hosts", f, len(hosts))
		}
		if f.For > 0 {
			w.At(at.Add(f.For), func() {
				undo()
				note(fmt.Sprintf("end of %s %s", f.Kind, f.Target))
				if w.trace != nil {
					w.trace("END of fault %s", f)
				}
			})
		}
	})
}

// Defaults of Fault.Factor.
const (
	defaultSlow = 10 // times slower
	defaultLate = 5  // seconds
	defaultAge  = 10 // seconds
)

// begin starts a fault on hosts and returns a function that ends the fault.
// backup is the copy for a FaultRestore.
func (w *World) begin(f Fault, hosts []int32, r *rand.Rand, backup *store) (undo func()) {
	set := func(on, off func(h *Host)) func() {
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
	case FaultCrash:
		for _, i := range hosts {
			w.Crash(i)
		}
		return func() {
			for _, i := range hosts {
				w.Start(i)
			}
		}
	case FaultCut:
		return w.cutBetween(f, hosts, r)
	case FaultRestore, FaultRival:
		return w.fork(f, hosts, backup)
	case FaultChatter:
		return w.chatter(hosts)
	case FaultRestart:
		return w.restartAgain(hosts, f.Factor, r)
	case FaultClone, FaultEdit, FaultWipe:
		return w.damage(f.Kind, hosts)
	case FaultSlow:
		factor := cmp.Or(f.Factor, defaultSlow)
		return set(func(h *Host) { h.slow = factor }, func(h *Host) { h.slow = 0 })
	case FaultSkew:
		d := time.Duration(f.Factor * float64(time.Second))
		return set(func(h *Host) { h.skew += d }, func(h *Host) { h.skew -= d })
	case FaultDisk:
		return set(func(h *Host) { h.broken = true }, func(h *Host) { h.broken = false })
	case FaultLate:
		late := time.Duration(cmp.Or(f.Factor, defaultLate) * float64(time.Second))
		return set(func(h *Host) { h.late = late }, func(h *Host) { h.late = 0 })
	}
	return set(func(h *Host) { h.lie = f.Kind }, func(h *Host) { h.lie = "" })
}

// fork gives the store a second history, and returns a function that ends the fault.
func (w *World) fork(f Fault, hosts []int32, backup *store) (undo func()) {
	if f.Kind == FaultRestore {
		w.restoreBackup(backup, f.Careless)
		return func() {
			if f.Careless {
				w.RaiseTerm(0)
			}
		}
	}
	var rivals []int32
	for _, i := range hosts {
		if w.IsCoordinator(i) && !w.IsLeader(i) {
			w.promote(i, f.Careless)
			rivals = append(rivals, i)
		}
	}
	return func() {
		for _, i := range rivals {
			w.demote(i)
		}
	}
}

// damage clones agents, or damages their files, and returns a function that ends the fault.
func (w *World) damage(kind FaultKind, hosts []int32) (undo func()) {
	var clones []int32
	for _, i := range hosts {
		switch {
		case w.IsCoordinator(i):
		case kind == FaultEdit:
			w.edit(i)
		case kind == FaultWipe:
			w.wipe(i)
		default:
			if c, ok := w.clone(i); ok {
				clones = append(clones, c)
			}
		}
	}
	return func() {
		for _, c := range clones {
			w.Crash(c)
		}
	}
}

// cutBetween starts the partition of fault f around hosts and returns a function that ends
// it.
func (w *World) cutBetween(f Fault, hosts []int32, r *rand.Rand) func() {
	here := make(map[*Host]bool, len(hosts))
	for _, i := range hosts {
		here[&w.hosts[i]] = true
	}
	there := func(h *Host) bool { return !here[h] }
	if f.To != "" {
		far := map[*Host]bool{}
		for _, i := range w.selected(f.To, r) {
			far[&w.hosts[i]] = true
		}
		there = func(h *Host) bool { return far[h] && !here[h] }
	}
	return w.cut(&partition{from: func(h *Host) bool { return here[h] }, to: there, oneWay: f.OneWay})
}
