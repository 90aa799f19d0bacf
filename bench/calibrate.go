package bench

import (
	"context"
	"crypto/ed25519"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"banyan/internal/fleet"
	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// CalibrateConfig configures Calibrate. A zero field has the default that its comment names.
type CalibrateConfig struct {
	Dir string
	// Agents is the number of agents; default 1000.
	Agents int
	// Fanout is the number of children of each node; default 16.
	Fanout int
	Say    func(format string, args ...any)
}

// Calibration holds the costs of this machine, and compares a real fleet with a simulation
// that uses the costs. All agents of the fleet share the machine.
type Calibration struct {
	Agents  int              `json:"agents"`
	Fanout  int              `json:"fanout"`
	Machine world.Machine    `json:"machine"`
	Costs   world.Costs      `json:"costs"`
	Rows    []CalibrationRow `json:"rows"`
	Within  bool             `json:"all_within_20_percent"`
}

// CalibrationRow is one figure, predicted beside measured, in milliseconds.
type CalibrationRow struct {
	What      string  `json:"what"`
	Quantile  string  `json:"quantile"`
	Measured  float64 `json:"measured_ms"`
	Predicted float64 `json:"predicted_ms"`
	Ratio     float64 `json:"ratio"` // predicted ÷ measured
}

// tolerance is how far a prediction may be off, as a share of what was measured.
const tolerance = 0.20

// Calibrate times updates of a fleet of real agents. From every second one it takes
// the costs of this machine; with those it simulates the same fleet; and holds the
// result against the updates between them. The machine's speed wanders, so the two
// halves are measured in turns.
func Calibrate(ctx context.Context, cfg CalibrateConfig) (Calibration, error) {
	if cfg.Agents == 0 {
		cfg.Agents = 1000
	}
	if cfg.Fanout == 0 {
		cfg.Fanout = 16
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	c := Calibration{Agents: cfg.Agents, Fanout: cfg.Fanout, Machine: world.Machine{Cores: runtime.GOMAXPROCS(0)}}
	var err error
	c.Costs.Verify, c.Costs.Hash, err = verifyCosts()
	if err != nil {
		return c, err
	}
	cfg.Say("a signature takes %s to verify, a pointer of a batch %s", c.Costs.Verify, c.Costs.Hash)
	hop, err := headCost(ctx, cfg)
	if err != nil {
		return c, err
	}
	cfg.Say("a head costs an agent %s", hop)
	all, publishes, rollbacks, err := fanout(ctx, FanoutConfig{
		Dir:       cfg.Dir,
		Agents:    cfg.Agents,
		Fanout:    cfg.Fanout,
		Updates:   13,
		Rollbacks: 13,
		Say:       cfg.Say,
	})
	if err != nil {
		return c, err
	}
	fitted, measured := all, all
	fitted.fill(publishes.every(0), rollbacks.every(0))
	measured.fill(publishes.every(1), rollbacks.every(1))
	c.divide(hop, fitted)
	if err := c.fitDisk(fitted); err != nil {
		return c, err
	}
	cfg.Say("costs: %+v; machine: %+v", c.Costs, c.Machine)
	predicted, err := c.simulate(cfg.Agents)
	if err != nil {
		return c, err
	}
	c.compare(measured, predicted)
	return c, nil
}

// verifyCosts returns the median time to check the signature of a pointer, and the median time to check a
// pointer of a batch whose signature has been checked.
func verifyCosts() (verify, hash time.Duration, err error) {
	root, key := record.KeyFromSeed([32]byte{1}), record.KeyFromSeed([32]byte{2})
	policy, err := record.SignPolicy(record.PolicyDocument{
		Version:    1,
		ExpiresSec: time.Now().Unix() + 3600,
		Activators: []record.ActivatorEntry{{Name: "bench", Public: key.Public(), Regions: []string{"bench"}}},
	}, root)
	if err != nil {
		return 0, 0, err
	}
	trust, err := record.OpenPolicy(policy, []ed25519.PublicKey{root.Public()}, time.Now())
	if err != nil {
		return 0, 0, err
	}
	p := record.Pointer{
		Config:     "bench/calibrate",
		Region:     "bench",
		Term:       1,
		Epoch:      1,
		Baseline:   record.Ref{Version: 1, Digest: record.Sum(nil)},
		Phase:      record.PhaseActive,
		TimeMicros: 1,
	}
	single, err := record.SignPointer(p, key)
	if err != nil {
		return 0, 0, err
	}
	payloads := slices.Repeat([][]byte{p.Payload()}, 20)
	batch, err := record.SignBatch(payloads, key)
	if err != nil {
		return 0, 0, err
	}
	verify, err = medianOf(func() error { _, err := trust.VerifyPointer(single); return err })
	if err != nil {
		return 0, 0, err
	}
	hash, err = medianOf(func() error { _, err := trust.VerifyBatch(batch, payloads); return err })
	return verify, hash / time.Duration(len(payloads)), err
}

// medianOf returns the median time that fn takes.
func medianOf(fn func() error) (time.Duration, error) {
	var times []float64
	for range 21 {
		began := time.Now()
		for range 100 {
			if err := fn(); err != nil {
				return 0, err
			}
		}
		times = append(times, float64(time.Since(began))/100)
	}
	return time.Duration(median(times)), nil
}

// headCost returns the processor time of one head at one agent. The agent receives, verifies
// and relays a head, and writes nothing.
func headCost(ctx context.Context, cfg CalibrateConfig) (time.Duration, error) {
	const interval, window = 100 * time.Millisecond, 4 * time.Second
	measure := func(interval time.Duration) (time.Duration, error) {
		dir, err := os.MkdirTemp(cfg.Dir, "banyan-calibrate-")
		if err != nil {
			return 0, err
		}
		f, err := fleet.Start(ctx, fleet.Config{
			Dir:          dir,
			Agents:       cfg.Agents,
			Regions:      []string{"bench"},
			Fanout:       cfg.Fanout,
			HeadInterval: interval,
			KeepAlive:    10 * time.Second,
			IdleTimeout:  time.Minute,
		})
		if err != nil {
			return 0, err
		}
		defer f.RemoveAll()
		if err := f.WaitAttached(ctx); err != nil {
			return 0, err
		}
		before := cpuTime()
		select {
		case <-time.After(window):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		return cpuTime() - before, nil
	}
	busy, err := measure(interval)
	if err != nil {
		return 0, err
	}
	idle, err := measure(time.Hour)
	return max(busy-idle, 0) / time.Duration(cfg.Agents) / time.Duration(window/interval), err
}

// divide derives the costs of the model from the measured processor times. hop is the cost of
// a head at one agent.
func (c *Calibration) divide(hop time.Duration, r FanoutResult) {
	wire := max(hop-c.Costs.Verify, 2*time.Microsecond)
	c.Costs.Receive = wire / 2
	c.Costs.Send = wire / 2
	c.Costs.Connect = 750 * time.Microsecond // half of the 1.5 ms that a handshake takes at both ends
	micros := func(us float64) time.Duration { return time.Duration(us * float64(time.Microsecond)) }
	rollback, publish := micros(r.RollbackCPUPerUs), micros(r.CPUPerAgentUs)
	// A rollback costs a hop down, an apply, and an acknowledgement up.
	c.Costs.Apply = max(rollback-hop-wire, 0)
	// A new version costs in addition a second message with a second signature, and the write
	// of the body.
	c.Costs.Store = max(publish-rollback-hop, 0)
}

// simulate runs the fleet of the calibration in the simulator.
func (c *Calibration) simulate(agents int) (*measure.Report, error) {
	machine := c.Machine
	return measure.Fleet(world.Config{
		Seed:      1,
		Agents:    []int{agents},
		Zones:     1,
		Fanout:    c.Fanout,
		Costs:     c.Costs,
		Machine:   &machine,
		BodyBytes: 256,
		Heads:     world.DefaultHeads,
		Join:      time.Minute,
		Network: world.Network{
			Zone:    20 * time.Microsecond,
			CrossAZ: 20 * time.Microsecond,
		},
	})
}

// fitDisk sets the times of the disk. For each of five values of Machine.Held it searches the
// time of an apply at which the simulated p99 of a rollback is the measured one, and then the
// time of a body's write at which the p99 of a new version is. It keeps the value of Held
// that brings the medians nearest.
func (c *Calibration) fitDisk(r FanoutResult) error {
	var best world.Machine
	least := math.Inf(1)
	for _, held := range []float64{0, 0.25, 0.5, 0.75, 1} {
		c.Machine.Held = held
		rollback := func(s *measure.Report) float64 { return s.Rollback.P99 }
		err := c.bisect(&c.Machine.ApplySync, r.RollbackP99, rollback)
		if err != nil {
			return err
		}
		err = c.bisect(&c.Machine.StoreSync, r.AppliedP99, func(s *measure.Report) float64 { return s.P99 })
		if err != nil {
			return err
		}
		s, err := c.simulate(c.Agents)
		if err != nil {
			return err
		}
		pairs := [][2]float64{
			{s.P50, r.AppliedP50},
			{s.Verified.P50, r.VerifiedP50},
			{s.Verified.P99, r.VerifiedP99},
			{s.Rollback.P50, r.RollbackP50},
		}
		off := 0.0
		for _, pair := range pairs {
			off += math.Abs(math.Log(pair[0] / pair[1]))
		}
		if off < least {
			least = off
			best = c.Machine
		}
	}
	c.Machine = best
	return nil
}

// bisect sets sync to the time, between 0 and 20 ms, at which the figure of a simulated report
// is want. The figure grows with the time.
func (c *Calibration) bisect(sync *time.Duration, want float64, of func(*measure.Report) float64) error {
	low, high := time.Duration(0), 20*time.Millisecond
	for range 11 {
		*sync = (low + high) / 2
		s, err := c.simulate(c.Agents)
		if err != nil {
			return err
		}
		if of(s) < want {
			low = *sync
		} else {
			high = *sync
		}
	}
	return nil
}

// compare adds a row for each measured figure and its prediction.
func (c *Calibration) compare(m FanoutResult, p *measure.Report) {
	c.Within = true
	add := func(what, quantile string, measured, predicted float64) {
		row := CalibrationRow{what, quantile, measured, predicted, predicted / measured}
		c.Within = c.Within && !row.Off()
		c.Rows = append(c.Rows, row)
	}
	for _, r := range []struct {
		what          string
		p50, p99, max float64
		predicted     measure.Latency
	}{
		{"new version, applied", m.AppliedP50, m.AppliedP99, m.AppliedMax, p.Rest},
		{"new version, verified", m.VerifiedP50, m.VerifiedP99, m.VerifiedMax, p.Verified},
		{"rollback, applied", m.RollbackP50, m.RollbackP99, m.RollbackMax, p.Rollback},
	} {
		add(r.what, "p50", r.p50, r.predicted.P50)
		add(r.what, "p99", r.p99, r.predicted.P99)
		add(r.what, "max", r.max, r.predicted.Max)
	}
}

// Off reports whether the prediction is off by more than the tolerance.
func (r CalibrationRow) Off() bool { return math.Abs(r.Ratio-1) > tolerance }
