package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/mesh/step"
	"banyan/mesh/swarm"
	"banyan/transport/emulated"
)

// BodyConfig configures Body. A zero field has the default that its comment names.
type BodyConfig struct {
	// Dir is where the directory of the measurement is made; default in memory if there is
	// room, otherwise the system's temporary directory.
	Dir string
	// Agents is the number of agents; default 64.
	Agents int
	// Body is the size of the body in bytes; default 16 MiB.
	Body int64
	// Link is the rate of every host's link in each direction, in bits per second; default
	// 10 Mbit/s.
	Link float64
	// Runs is the number of runs of each part, of which the medians are reported; default 3.
	Runs int
	// Only names the parts to measure; default all of BodyParts.
	Only []string
	// Program is the command line of this program. The part "memory" starts an agent with it
	// in a process of its own; without Program the part is skipped.
	Program []string
	Say     func(format string, args ...any)
}

// BodyResult is the result of Body.
type BodyResult struct {
	Agents    int     `json:"agents"`
	BodyBytes int64   `json:"body_bytes"`
	LinkBps   float64 `json:"link_bps"`
	Runs      int     `json:"runs"`
	// InMemory is true if the agents' files were on a file system in memory.
	InMemory bool `json:"disks_in_memory"`
	// Last is the time from the move of the pointer to the durable apply at the last agent.
	Last float64 `json:"last_s"`
	// RatioToLineRate is Last divided by the time that the body takes at the link's rate.
	RatioToLineRate float64 `json:"ratio_to_line_rate"`
	// RatioStar is the same ratio for a star, in which each agent fetches the body from the
	// coordinator. It is measured with a smaller body.
	RatioStar      float64 `json:"ratio_star"`
	DuplicateShare float64 `json:"duplicate_bytes_share"`

	// Disturbed is a run in which 5% of packets are lost, the delay is 20 ms, and 10% of the
	// agents are killed half-way.
	Disturbed BodyTrouble  `json:"disturbed"`
	Poison    BodyPoison   `json:"poison"`
	Memory    *AgentMemory `json:"memory,omitempty"`
}

// BodyTrouble is the result of a run with loss, delay and deaths.
type BodyTrouble struct {
	Last            float64 `json:"last_s"`
	RatioToLineRate float64 `json:"ratio_to_line_rate"`
	Killed          int     `json:"killed"`
	// Missed counts the live agents that did not receive the body.
	Missed int `json:"missed"`
}

// BodyPoison is the result of a run in which one agent of each circle sends poisoned shards.
type BodyPoison struct {
	Liars  int     `json:"liars"`
	Last   float64 `json:"last_s"`
	Shards int     `json:"poisoned_shards"`
	// Attributed counts the poisoned shards that agents attributed to an agent that sends
	// poison.
	Attributed int `json:"attributed"`
	Missed     int `json:"missed"`
	// BlamedHonest counts the agents that were blamed and do not send poison.
	BlamedHonest int `json:"blamed_honest"`
}

// Body measures how a body spreads over agents behind links of a limited rate.
func Body(ctx context.Context, cfg BodyConfig) (r BodyResult, err error) {
	cfg.setDefaults()
	r = BodyResult{Agents: cfg.Agents, BodyBytes: cfg.Body, LinkBps: cfg.Link, Runs: cfg.Runs}
	need := int64(cfg.Agents+1) * (agentBytes + int64(cfg.Runs)*cfg.Body)
	cfg.Dir, r.InMemory, err = scratch(cfg.Dir, need)
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	// All hosts share the cores and the garbage collector of this process.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	parts := []func(context.Context, BodyConfig, *BodyResult) error{
		measureBody,
		measureStar,
		measureTrouble,
		measurePoison,
		measureMemory,
	}
	for i, measure := range parts {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, BodyParts[i]) {
			continue
		}
		if err := measure(ctx, cfg, &r); err != nil {
			return r, fmt.Errorf("%s: %w", BodyParts[i], err)
		}
	}
	return r, nil
}

// agentBytes is a generous estimate of the disk space of an agent besides bodies.
const agentBytes = 16 << 20

// BodyParts are the names of the parts of the measurement, in the order of execution.
var BodyParts = []string{"good", "star", "trouble", "poison", "memory"}

func (c *BodyConfig) setDefaults() {
	c.Agents = cmp.Or(c.Agents, 64)
	c.Body = cmp.Or(c.Body, 16<<20)
	c.Link = cmp.Or(c.Link, 10e6)
	c.Runs = cmp.Or(c.Runs, 3)
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

// lineRate returns the time that bytes take at the link's rate, in seconds.
func (c *BodyConfig) lineRate(bytes int64) float64 { return float64(bytes) * 8 / c.Link }

// bodyFleet is a fleet in which bodies spread, and the events of its agents.
type bodyFleet struct {
	*fleet.Fleet
	mu      sync.Mutex
	applied map[string]time.Time // when each agent applied epoch; guarded by mu
	epoch   uint64               // the newest; guarded by mu
	blamed  map[string]int       // poisoned shards by sender; guarded by mu
}

// startBody starts a fleet and waits until its circles have formed.
func startBody(ctx context.Context, cfg BodyConfig, name string, shape fleet.Config) (*bodyFleet, error) {
	b := &bodyFleet{applied: map[string]time.Time{}, blamed: map[string]int{}}
	shape.Dir = cfg.Dir + "/" + name
	shape.Agents = cfg.Agents
	shape.Regions = []string{"bench"}
	shape.OnEvent = b.event
	shape.InMemory = true
	shape.KeepAlive = 5 * time.Second
	shape.IdleTimeout = 20 * time.Second
	var err error
	b.Fleet, err = fleet.Start(ctx, shape)
	if err != nil {
		return nil, err
	}
	if err := b.WaitAttached(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("agents did not all join: %w", err), b.Stop())
	}
	return b, sleep(ctx, circlesForm)
}

// circlesForm is the time after which every agent knows its circle.
const circlesForm = 3 * time.Second

func (b *bodyFleet) event(e agent.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case e.Kind == agent.EventApplied && e.Pointer.Epoch == b.epoch:
		b.applied[e.Agent] = e.At
	case e.Kind == agent.EventRefused && e.Reason == step.ReasonPoison:
		b.blamed[e.Peer]++
	}
}

// store publishes a body of random bytes, which do not compress, and returns its version.
func (b *bodyFleet) store(ctx context.Context, size int64) (uint64, error) {
	body := make([]byte, size)
	rand.Read(body)
	v, err := b.Client.Publish(ctx, api.Draft{
		Config:      "bench/body",
		Body:        body,
		ContentType: "application/octet-stream",
	}, b.Key)
	return v.Manifest.Version, err
}

// interruption is a function that is called while a body spreads. It returns the names of the
// agents that it has killed.
type interruption struct {
	after time.Duration
	kill  func() map[string]bool
}

// spread moves the pointer to a stored version and waits, at most for limit, until every live
// agent has applied the version. It returns the time of the last live agent in seconds, and
// the number of live agents without the version. at may be nil.
func (b *bodyFleet) spread(
	ctx context.Context,
	version uint64,
	limit time.Duration,
	at *interruption,
) (last float64, missed int, err error) {
	b.mu.Lock()
	b.epoch++
	clear(b.applied)
	b.mu.Unlock()
	began := time.Now()
	if _, err := b.Activate(ctx, "bench/body", version); err != nil {
		return 0, 0, err
	}
	dead := map[string]bool{}
	if at != nil {
		if err := sleep(ctx, at.after); err != nil {
			return 0, 0, err
		}
		dead = at.kill()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = fleet.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		last, missed = b.progress(began, dead)
		return missed == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // missed reports the timeout
	}
	return last, missed, err
}

// progress returns the time of the last live agent in seconds, and the number of live agents
// that have not applied the version.
func (b *bodyFleet) progress(began time.Time, dead map[string]bool) (last float64, missed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.Agents {
		at, ok := b.applied[a.Name()]
		switch {
		case dead[a.Name()]:
		case !ok:
			missed++
		default:
			last = max(last, at.Sub(began).Seconds())
		}
	}
	return last, missed
}

// limit returns the time after which a spread is given up.
func (c *BodyConfig) limit() time.Duration {
	return time.Duration(10*c.lineRate(c.Body)*float64(time.Second)) + 30*time.Second
}

func (c *BodyConfig) link() *emulated.Link { return &emulated.Link{Rate: c.Link, DownRate: c.Link} }

// measureBody times the spread over links without trouble.
func measureBody(ctx context.Context, cfg BodyConfig, r *BodyResult) (err error) {
	b, err := startBody(ctx, cfg, "good", fleet.Config{Link: cfg.link()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.RemoveAll()) }()
	var lasts []float64
	for run := range cfg.Runs {
		version, err := b.store(ctx, cfg.Body)
		if err != nil {
			return err
		}
		last, missed, err := b.spread(ctx, version, cfg.limit(), nil)
		if err != nil {
			return err
		}
		if missed > 0 {
			return fmt.Errorf("%d of %d agents did not get the body in %s", missed, cfg.Agents, cfg.limit())
		}
		cfg.Say("run %d: %d agents have %d MiB after %.1f s, %.2f × line rate",
			run+1, cfg.Agents, cfg.Body>>20, last, last/cfg.lineRate(cfg.Body))
		lasts = append(lasts, last)
	}
	r.Last = median(lasts)
	r.RatioToLineRate = r.Last / cfg.lineRate(cfg.Body)
	var shards, duplicates uint64
	for _, a := range b.Agents {
		needed, twice := a.Shards()
		shards += needed
		duplicates += twice
	}
	r.DuplicateShare = float64(duplicates) / float64(max(shards+duplicates, 1))
	return nil
}

// measureStar times a fleet without relays and without trade of shards: each agent fetches
// the body from the coordinator in one piece. The body is small enough for that.
func measureStar(ctx context.Context, cfg BodyConfig, r *BodyResult) (err error) {
	b, err := startBody(ctx, cfg, "star", fleet.Config{Link: cfg.link(), Fanout: cfg.Agents})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.RemoveAll()) }()
	size := min(cfg.Body, swarm.WholeLimit)
	var ratios []float64
	for range cfg.Runs {
		version, err := b.store(ctx, size)
		if err != nil {
			return err
		}
		last, missed, err := b.spread(ctx, version, 10*time.Minute, nil)
		if err != nil || missed > 0 {
			return errors.Join(err, fmt.Errorf("star: %d agents did not get the body", missed))
		}
		ratios = append(ratios, last/cfg.lineRate(size))
	}
	r.RatioStar = median(ratios)
	cfg.Say("star: %.1f × line rate", r.RatioStar)
	return nil
}

// measureTrouble times the spread with loss and delay, while agents are killed.
func measureTrouble(ctx context.Context, cfg BodyConfig, r *BodyResult) error {
	var lasts []float64
	for run := range cfg.Runs {
		one, err := trouble(ctx, cfg, run)
		if err != nil {
			return err
		}
		r.Disturbed.Killed = one.Killed
		r.Disturbed.Missed += one.Missed
		lasts = append(lasts, one.Last)
		cfg.Say("run %d with 5%% loss, 20 ms and %d agents killed half-way: %.1f s, %.2f × line rate, missed %d",
			run+1, one.Killed, one.Last, one.Last/cfg.lineRate(cfg.Body), one.Missed)
	}
	r.Disturbed.Last = median(lasts)
	r.Disturbed.RatioToLineRate = r.Disturbed.Last / cfg.lineRate(cfg.Body)
	return nil
}

// trouble times one spread with loss and delay. A tenth of the agents are killed after half
// of the time that the body takes at the link's rate.
func trouble(ctx context.Context, cfg BodyConfig, run int) (r BodyTrouble, err error) {
	link := cfg.link()
	link.Loss = 0.05
	link.Delay = 20 * time.Millisecond
	link.Seed = uint64(run)
	b, err := startBody(ctx, cfg, fmt.Sprintf("trouble-%d", run), fleet.Config{Link: link})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.RemoveAll()) }()
	version, err := b.store(ctx, cfg.Body)
	if err != nil {
		return r, err
	}
	half := time.Duration(cfg.lineRate(cfg.Body) / 2 * float64(time.Second))
	kill := func() map[string]bool {
		dead := map[string]bool{}
		for i, a := range b.Agents {
			if i%10 == 3 {
				b.Kill(a)
				dead[a.Name()] = true
			}
		}
		r.Killed = len(dead)
		return dead
	}
	r.Last, r.Missed, err = b.spread(ctx, version, cfg.limit(), &interruption{half, kill})
	return r, err
}

// measurePoison times a spread in which one agent of each circle sends poisoned shards, and
// checks that agents blame those agents and no others.
func measurePoison(ctx context.Context, cfg BodyConfig, r *BodyResult) (err error) {
	liars := map[int]bool{}
	for i := 2; i < cfg.Agents; i += max(cfg.Agents/4, 1) {
		liars[i] = true
	}
	b, err := startBody(ctx, cfg, "poison", fleet.Config{Link: cfg.link(), Tamper: func(i int) func([]byte) {
		if !liars[i] {
			return nil
		}
		return func(shard []byte) { shard[len(shard)/2] ^= 1 }
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.RemoveAll()) }()
	version, err := b.store(ctx, cfg.Body)
	if err != nil {
		return err
	}
	r.Poison.Liars = len(liars)
	r.Poison.Last, r.Poison.Missed, err = b.spread(ctx, version, cfg.limit(), nil)
	if err != nil {
		return err
	}
	isLiar := map[string]bool{}
	for i := range liars {
		isLiar[b.Agents[i].Name()] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, n := range b.blamed {
		r.Poison.Shards += n
		if isLiar[name] {
			r.Poison.Attributed += n
		} else {
			r.Poison.BlamedHonest++
		}
	}
	cfg.Say("%d agents send poison: %.1f s, %d poisoned shards, all of them attributed: %v, missed %d",
		len(liars), r.Poison.Last, r.Poison.Shards, r.Poison.Attributed == r.Poison.Shards, r.Poison.Missed)
	return nil
}
