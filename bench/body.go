package bench

import (
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
	"banyan/bench/fleet"
	"banyan/coordinator/api"
	"banyan/mesh/step"
	"banyan/mesh/swarm"
	"banyan/transport/emulated"
)

// BodyConfig shapes a measurement of how bodies spread. A zero value means the default
// where one is named.
type BodyConfig struct {
	Dir    string  // where a temporary directory is made; default in memory, if there is room, or the system's
	Agents int     // default 64
	Body   int64   // bytes; default 16 MiB
	Link   float64 // rate of every host's link, bits a second each way; default 10 Mbit/s
	Runs   int     // of each kind; medians are reported; default 3
	// Only, if not empty, names the parts to measure; see BodyParts.
	Only []string
	// Program, if set, is this program, to run one agent in a process of its own and see
	// how much memory a large body takes there.
	Program []string
	Say     func(format string, args ...any)
}

// BodyResult is what such a measurement found.
type BodyResult struct {
	Agents    int     `json:"agents"`
	BodyBytes int64   `json:"body_bytes"`
	LinkBps   float64 `json:"link_bps"`
	Runs      int     `json:"runs"`
	InMemory  bool    `json:"disks_in_memory"` // the agents' files were on a file system in memory
	// Last is from the move of the pointer to the durable apply at the last agent.
	Last            float64 `json:"last_s"`
	RatioToLineRate float64 `json:"ratio_to_line_rate"`
	// RatioStar is how many times the line rate's time the last agent of a star takes,
	// in which each fetches from the coordinator alone; measured on a smaller body.
	RatioStar      float64 `json:"ratio_star"`
	DuplicateShare float64 `json:"duplicate_bytes_share"`

	Disturbed BodyTrouble  `json:"disturbed"` // 5% of packets lost, 20 ms, 10% of the agents killed half-way
	Poison    BodyPoison   `json:"poison"`
	Memory    *AgentMemory `json:"memory,omitempty"`
}

// BodyTrouble is a run under trouble.
type BodyTrouble struct {
	Last            float64 `json:"last_s"`
	RatioToLineRate float64 `json:"ratio_to_line_rate"`
	Killed          int     `json:"killed"`
	Missed          int     `json:"missed"` // live agents that did not complete
}

// BodyPoison is a run with agents that send poison, one in each circle.
type BodyPoison struct {
	Liars        int     `json:"liars"`
	Last         float64 `json:"last_s"`
	Shards       int     `json:"poisoned_shards"`
	Attributed   int     `json:"attributed"` // of those, blamed on a liar
	Missed       int     `json:"missed"`
	BlamedHonest int     `json:"blamed_honest"`
}

// Body measures how a body spreads over agents behind links of a limited rate.
func Body(ctx context.Context, cfg BodyConfig) (r BodyResult, err error) {
	cfg.setDefaults()
	r = BodyResult{Agents: cfg.Agents, BodyBytes: cfg.Body, LinkBps: cfg.Link, Runs: cfg.Runs}
	if cfg.Dir, r.InMemory, err = scratch(cfg.Dir, int64(cfg.Agents+1)*(agentBytes+int64(cfg.Runs)*cfg.Body)); err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	// All the hosts share this process's cores, and its garbage collector.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for i, measure := range []func(context.Context, BodyConfig, *BodyResult) error{measureBody, measureStar, measureTrouble, measurePoison, measureMemory} {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, BodyParts[i]) {
			continue
		}
		if err := measure(ctx, cfg, &r); err != nil {
			return r, fmt.Errorf("%s: %w", BodyParts[i], err)
		}
	}
	return r, nil
}

// agentBytes is what an agent takes on disk besides bodies, generously.
const agentBytes = 16 << 20

// BodyParts are the parts of the measurement, in their order.
var BodyParts = []string{"good", "star", "trouble", "poison", "memory"}

func (c *BodyConfig) setDefaults() {
	if c.Agents == 0 {
		c.Agents = 64
	}
	if c.Body == 0 {
		c.Body = 16 << 20
	}
	if c.Link == 0 {
		c.Link = 10e6
	}
	if c.Runs == 0 {
		c.Runs = 3
	}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

// lineRate is how long a link takes for a number of bytes, in seconds.
func (c *BodyConfig) lineRate(bytes int64) float64 { return float64(bytes) * 8 / c.Link }

// bodyFleet is a fleet in which bodies spread, and what its agents tell.
type bodyFleet struct {
	*fleet.Fleet
	mu      sync.Mutex
	applied map[string]time.Time // newest version, by agent
	epoch   uint64
	blamed  map[string]int // poison, by sender
}

// startBody starts a fleet behind links, and lets its circles form.
func startBody(ctx context.Context, cfg BodyConfig, name string, shape fleet.Config) (*bodyFleet, error) {
	b := &bodyFleet{applied: map[string]time.Time{}, blamed: map[string]int{}}
	shape.Dir, shape.Agents, shape.Regions, shape.OnEvent = cfg.Dir+"/"+name, cfg.Agents, []string{"bench"}, b.event
	shape.InMemory = true
	shape.KeepAlive, shape.IdleTimeout = 5*time.Second, 20*time.Second
	var err error
	if b.Fleet, err = fleet.Start(ctx, shape); err != nil {
		return nil, err
	}
	if err := b.WaitAttached(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("agents did not all join: %w", err), b.Stop())
	}
	select {
	case <-time.After(circlesForm):
	case <-ctx.Done():
	}
	return b, ctx.Err()
}

// circlesForm is how long a fleet is left alone until everyone knows its circle.
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

// store publishes a body of random bytes, which nothing compresses.
func (b *bodyFleet) store(ctx context.Context, size int64) (uint64, error) {
	body := make([]byte, size)
	rand.Read(body)
	v, err := b.Client.Publish(ctx, api.Draft{Config: "bench/body", Body: body, ContentType: "application/octet-stream"}, b.Key)
	return v.Manifest.Version, err
}

// spread moves the pointer to a version that is stored and returns how many seconds
// the last agent took that is not dead, and how many did not get there. half, if not
// nil, is called after half of the line rate's time.
func (b *bodyFleet) spread(ctx context.Context, version uint64, limit time.Duration, half time.Duration, atHalf func() map[string]bool) (last float64, missed int, err error) {
	b.mu.Lock()
	b.epoch++
	clear(b.applied)
	b.mu.Unlock()
	began := time.Now()
	if _, err := b.Activate(ctx, "bench/body", version); err != nil {
		return 0, 0, err
	}
	dead := map[string]bool{}
	if atHalf != nil {
		select {
		case <-time.After(half):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
		dead = atHalf()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = fleet.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		last, missed = b.progress(began, dead)
		return missed == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // missed says it
	}
	return last, missed, err
}

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

// limit is how long a spread may take before it is given up.
func (c *BodyConfig) limit() time.Duration {
	return time.Duration(10*c.lineRate(c.Body)*float64(time.Second)) + 30*time.Second
}

func (c *BodyConfig) link() *emulated.Link { return &emulated.Link{Rate: c.Link, DownRate: c.Link} }

// measureBody times the spread on good links.
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
		last, missed, err := b.spread(ctx, version, cfg.limit(), 0, nil)
		if err != nil {
			return err
		}
		if missed > 0 {
			return fmt.Errorf("%d of %d agents did not get the body in %s", missed, cfg.Agents, cfg.limit())
		}
		cfg.Say("run %d: %d agents have %d MiB after %.1f s, %.2f × line rate", run+1, cfg.Agents, cfg.Body>>20, last, last/cfg.lineRate(cfg.Body))
		lasts = append(lasts, last)
	}
	r.Last = median(lasts)
	r.RatioToLineRate = r.Last / cfg.lineRate(cfg.Body)
	shards, duplicates := uint64(0), uint64(0)
	for _, a := range b.Agents {
		s, d := a.Shards()
		shards, duplicates = shards+s, duplicates+d
	}
	r.DuplicateShare = float64(duplicates) / float64(max(shards+duplicates, 1))
	return nil
}

// measureStar times what a fleet without relays and trade would do: each agent fetches
// from the coordinator, in one piece, a body that is small enough for that.
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
		last, missed, err := b.spread(ctx, version, 10*time.Minute, 0, nil)
		if err != nil || missed > 0 {
			return errors.Join(err, fmt.Errorf("star: %d agents did not get the body", missed))
		}
		ratios = append(ratios, last/cfg.lineRate(size))
	}
	r.RatioStar = median(ratios)
	cfg.Say("star: %.1f × line rate", r.RatioStar)
	return nil
}

// measureTrouble times the spread with loss and delay while agents die.
func measureTrouble(ctx context.Context, cfg BodyConfig, r *BodyResult) error {
	var lasts []float64
	for run := range cfg.Runs {
		last, killed, missed, err := trouble(ctx, cfg, run)
		if err != nil {
			return err
		}
		r.Disturbed.Killed = killed
		r.Disturbed.Missed += missed
		lasts = append(lasts, last)
		cfg.Say("run %d with 5%% loss, 20 ms and %d agents killed half-way: %.1f s, %.2f × line rate, missed %d", run+1, killed, last, last/cfg.lineRate(cfg.Body), missed)
	}
	r.Disturbed.Last = median(lasts)
	r.Disturbed.RatioToLineRate = r.Disturbed.Last / cfg.lineRate(cfg.Body)
	return nil
}

func trouble(ctx context.Context, cfg BodyConfig, run int) (last float64, killed, missed int, err error) {
	link := cfg.link()
	link.Loss, link.Delay, link.Seed = 0.05, 20*time.Millisecond, uint64(run)
	b, err := startBody(ctx, cfg, fmt.Sprintf("trouble-%d", run), fleet.Config{Link: link})
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, b.RemoveAll()) }()
	version, err := b.store(ctx, cfg.Body)
	if err != nil {
		return 0, 0, 0, err
	}
	half := time.Duration(cfg.lineRate(cfg.Body) / 2 * float64(time.Second))
	last, missed, err = b.spread(ctx, version, cfg.limit(), half, func() map[string]bool {
		dead := map[string]bool{}
		for i, a := range b.Agents {
			if i%10 == 3 {
				b.Kill(a)
				dead[a.Name()] = true
			}
		}
		killed = len(dead)
		return dead
	})
	return last, killed, missed, err
}

// measurePoison spreads a body among agents of which some, one in each circle, send
// shards that are none.
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
	if r.Poison.Last, r.Poison.Missed, err = b.spread(ctx, version, cfg.limit(), 0, nil); err != nil {
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
	cfg.Say("%d liars: %.1f s, %d shards of poison, all of them blamed on liars: %v, missed %d", len(liars), r.Poison.Last, r.Poison.Shards,
		r.Poison.Attributed == r.Poison.Shards, r.Poison.Missed)
	return nil
}
