package scenario

import (
	"bytes"
	"cmp"
	"embed"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"banyan/draft"
	"banyan/internal/quantity"
	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

//go:embed scenario.schema.json
var scenarioSchema []byte

//go:embed scenarios/*.yaml
var library embed.FS

// maxScenario is the size of the largest scenario file, in bytes.
const maxScenario = 1 << 20

// Scenario is a fleet, the traffic and the faults on the fleet, and the assertions about the
// result. It is written as a YAML file, which scenario.schema.json describes.
type Scenario struct {
	Name     string            `yaml:"name"`
	About    string            `yaml:"about"`
	Seed     uint64            `yaml:"seed"`
	Duration quantity.Duration `yaml:"duration"`
	Fleet    FleetPart         `yaml:"fleet"`
	Network  NetworkPart       `yaml:"network"`
	Costs    *CostsPart        `yaml:"costs"`
	Traffic  []TrafficPart     `yaml:"traffic"`
	Faults   []FaultPart       `yaml:"faults"`
	Rollouts []RolloutDef      `yaml:"rollouts"`
	Assert   []string          `yaml:"assert"`

	// dir is the directory of the files that the scenario names.
	dir string
}

// FleetPart is the fleet of a scenario.
type FleetPart struct {
	// Agents is the number of agents, spread evenly over the regions.
	Agents int `yaml:"agents"`
	// Regions limits the matrix to its first regions; 0 means all.
	Regions int `yaml:"regions"`
	// ByRegion adds agents to single regions.
	ByRegion  map[string]int    `yaml:"byRegion"`
	Zones     int               `yaml:"zones"`
	Fanout    int               `yaml:"fanout"`
	Heads     quantity.Duration `yaml:"heads"`
	Slow      quantity.Percent  `yaml:"slow"`
	ClockSkew quantity.Duration `yaml:"clockSkew"`
}

// NetworkPart is the network of a scenario.
type NetworkPart struct {
	// Matrix is a preset, or a CSV file whose path is relative to the scenario.
	Matrix string           `yaml:"matrix"`
	Loss   quantity.Percent `yaml:"loss"`
	Jitter quantity.Percent `yaml:"jitter"`
	// Link is the rate of a host's link in each direction; 0 means no limit.
	Link quantity.Bandwidth `yaml:"link"`
	// Up and Down are the rates at which a host sends and receives; default Link.
	Up   quantity.Bandwidth `yaml:"up"`
	Down quantity.Bandwidth `yaml:"down"`
	// Coordinator is the rate of a coordinator's link; 0 means the rates of a host.
	Coordinator quantity.Bandwidth `yaml:"coordinator"`
	// Voters are the regions whose stores vote on a commit; default three zones of the
	// first region.
	Voters []string `yaml:"voters"`
}

// CostsPart overrides fields of world.Costs. A zero field keeps the default.
type CostsPart struct {
	Receive quantity.Duration `yaml:"receive"`
	Send    quantity.Duration `yaml:"send"`
	Verify  quantity.Duration `yaml:"verify"`
	Connect quantity.Duration `yaml:"connect"`
	Apply   quantity.Duration `yaml:"apply"`
	Store   quantity.Duration `yaml:"store"`
}

// TrafficPart is a stream of updates.
type TrafficPart struct {
	At     quantity.Duration `yaml:"at"`
	Config string            `yaml:"config"`
	// Configs spreads the updates over several configs, named Config-0, Config-1 and so
	// on, in turn.
	Configs int               `yaml:"configs"`
	Every   quantity.Duration `yaml:"every"`
	Count   int               `yaml:"count"`
	Body    quantity.Size     `yaml:"body"`
	// Rollback moves the config back to the version before the newest.
	Rollback bool `yaml:"rollback"`
}

// FaultPart is a world.Fault in YAML, which may repeat.
type FaultPart struct {
	At       quantity.Duration `yaml:"at"`
	For      quantity.Duration `yaml:"for"`
	Kind     world.FaultKind   `yaml:"kind"`
	Target   string            `yaml:"target"`
	To       string            `yaml:"to"`
	OneWay   bool              `yaml:"oneWay"`
	Careless bool              `yaml:"careless"`
	Factor   float64           `yaml:"factor"`
	// Times is how often the fault happens; Every is the time from one beginning to the
	// next.
	Times int               `yaml:"times"`
	Every quantity.Duration `yaml:"every"`
}

func (f FaultPart) fault() world.Fault {
	return world.Fault{
		At:       time.Duration(f.At),
		For:      time.Duration(f.For),
		Kind:     f.Kind,
		Target:   f.Target,
		To:       f.To,
		OneWay:   f.OneWay,
		Careless: f.Careless,
		Factor:   f.Factor,
	}
}

// Library returns the scenarios that come with the simulator: the text of About by name.
func Library() map[string]string {
	entries, err := fs.ReadDir(library, "scenarios")
	if err != nil {
		panic(err) // embedded
	}
	all := map[string]string{}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".yaml")
		s, err := Load(name)
		if err != nil {
			panic(err) // TestTheLibraryIsValid loads every scenario
		}
		all[name] = s.About
	}
	return all
}

// Load reads a scenario: the scenario of the library with that name, or else a file.
func Load(name string) (*Scenario, error) {
	raw, err := library.ReadFile("scenarios/" + name + ".yaml")
	if err == nil {
		return Parse(raw, "")
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w; the library has %s", name, err, strings.Join(Names(), ", "))
	}
	if info.Size() > maxScenario {
		return nil, fmt.Errorf("scenario %s: %w: %d bytes", name, record.ErrTooLarge, info.Size())
	}
	if raw, err = os.ReadFile(name); err != nil {
		return nil, err
	}
	s, err := Parse(raw, filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return s, nil
}

// Names returns the names of the scenarios that come with the simulator, sorted.
func Names() []string {
	entries, _ := fs.ReadDir(library, "scenarios")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Parse reads a scenario from YAML and checks the scenario: against the schema, and that its
// parts fit together. The paths of files that the scenario names are relative to dir.
func Parse(raw []byte, dir string) (*Scenario, error) {
	if len(raw) > maxScenario {
		return nil, fmt.Errorf("%w: a scenario of %d bytes", record.ErrTooLarge, len(raw))
	}
	if err := draft.Check(draft.TypeYAML, raw, scenarioSchema); err != nil {
		return nil, inScenario(err)
	}
	s := &Scenario{dir: dir}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%w: %s", world.ErrInvalid, err)
	}
	cfg, err := s.Config()
	if err != nil {
		return nil, err
	}
	return s, s.check(cfg)
}

// inScenario turns the rejection of a draft into an error about a scenario, with its place in
// the file.
func inScenario(err error) error {
	var r *draft.Rejection
	if !errors.As(err, &r) {
		return err
	}
	return fmt.Errorf("%w: %s", world.ErrInvalid, r.At())
}

// Config returns the configuration of the fleet and its network.
func (s *Scenario) Config() (world.Config, error) {
	matrix, err := world.OpenMatrix(s.Network.Matrix, s.dir)
	if err != nil {
		return world.Config{}, err
	}
	if s.Fleet.Regions > 0 {
		if matrix, err = matrix.First(s.Fleet.Regions); err != nil {
			return world.Config{}, err
		}
	}
	n := s.Network
	cfg := world.Config{
		Seed:      s.Seed,
		Agents:    world.Uniform(s.Fleet.Agents, len(matrix.Regions)),
		Zones:     s.Fleet.Zones,
		Fanout:    s.Fleet.Fanout,
		Heads:     cmp.Or(time.Duration(s.Fleet.Heads), world.DefaultHeads),
		SlowShare: float64(s.Fleet.Slow),
		ClockSkew: time.Duration(s.Fleet.ClockSkew),
		Network: world.Network{
			Matrix:  matrix,
			Loss:    float64(n.Loss),
			Jitter:  float64(n.Jitter),
			UpBps:   float64(cmp.Or(n.Up, n.Link)),
			DownBps: float64(cmp.Or(n.Down, n.Link)),
			RootBps: float64(n.Coordinator),
		},
	}
	for region, agents := range s.Fleet.ByRegion {
		i := matrix.Index(region)
		if i < 0 {
			return cfg, fmt.Errorf("%w: fleet: the matrix has no region %q", world.ErrInvalid, region)
		}
		cfg.Agents[i] += agents
	}
	for _, region := range n.Voters {
		i := matrix.Index(region)
		if i < 0 {
			return cfg, fmt.Errorf("%w: voters: the matrix has no region %q", world.ErrInvalid, region)
		}
		cfg.Voters = append(cfg.Voters, i)
	}
	if s.Costs != nil {
		cfg.Costs = s.Costs.costs()
	}
	return cfg, cfg.Complete()
}

// costs returns the default costs with the fields of c that are not zero.
func (c *CostsPart) costs() world.Costs {
	costs := world.DefaultCosts()
	costs.Receive = cmp.Or(time.Duration(c.Receive), costs.Receive)
	costs.Send = cmp.Or(time.Duration(c.Send), costs.Send)
	costs.Verify = cmp.Or(time.Duration(c.Verify), costs.Verify)
	costs.Connect = cmp.Or(time.Duration(c.Connect), costs.Connect)
	costs.Apply = cmp.Or(time.Duration(c.Apply), costs.Apply)
	costs.Store = cmp.Or(time.Duration(c.Store), costs.Store)
	return costs
}

// maxSamples is the largest number of latencies that a run keeps: updates times agents.
const maxSamples = 200_000_000

// check returns an error if the parts of a scenario do not fit together.
func (s *Scenario) check(cfg world.Config) error {
	updates := 0
	for _, t := range s.Traffic {
		if err := record.ValidateConfig(t.Config); err != nil {
			return err
		}
		if t.Count > 1 && t.Every <= 0 {
			return fmt.Errorf("%w: traffic on %s: %d updates need an interval, 'every'",
				world.ErrInvalid, t.Config, t.Count)
		}
		updates += max(t.Count, 1)
	}
	agents := 0
	for _, n := range cfg.Agents {
		agents += n
	}
	if updates*agents > maxSamples {
		return fmt.Errorf("%w: %d updates times %d agents is more than a run can follow; the product may be at most %d",
			world.ErrInvalid, updates, agents, maxSamples)
	}
	if err := s.checkFaults(&cfg); err != nil {
		return err
	}
	for i := range s.Rollouts {
		if err := s.Rollouts[i].check(); err != nil {
			return err
		}
	}
	for _, text := range s.Assert {
		if _, err := parseAssertion(text); err != nil {
			return err
		}
	}
	return nil
}

// checkFaults returns an error if a fault is not possible on the fleet of cfg, or begins
// after the end of the run.
func (s *Scenario) checkFaults(cfg *world.Config) error {
	for _, f := range s.Faults {
		if err := f.fault().Check(cfg); err != nil {
			return err
		}
		if f.Times > 1 && f.Every <= 0 {
			return fmt.Errorf("%w: fault %q: %d times need an interval, 'every'",
				world.ErrInvalid, f.fault(), f.Times)
		}
		if time.Duration(f.At) > time.Duration(s.Duration) {
			return fmt.Errorf("%w: fault %q begins after the end of the run", world.ErrInvalid, f.fault())
		}
	}
	return nil
}

// timelineSamples is the number of samples of a run's timeline.
const timelineSamples = 240

// Run runs the scenario and evaluates its assertions. It returns measure.ErrStopped if done
// is closed before the end.
func (s *Scenario) Run(done <-chan struct{}) (*Report, error) {
	cfg, err := s.Config()
	if err != nil {
		return nil, err
	}
	cfg.Done = done
	r, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	s.schedule(r)
	var rollouts []*simulated
	for i, def := range s.Rollouts {
		rollouts = append(rollouts, startRollout(r, def, i))
	}
	step := max(time.Duration(s.Duration)/timelineSamples, time.Millisecond)
	for end := r.Start.Add(time.Duration(s.Duration)); r.w.Now() < end && !r.w.Stopped(); {
		r.w.Run(min(r.w.Now().Add(step), end))
		r.sample()
	}
	if r.w.Stopped() {
		return nil, measure.ErrStopped
	}
	report := &Report{
		Scenario: s.Name,
		About:    s.About,
		Report:   *r.Report(),
		Timeline: r.timeline,
		Notes:    r.notes,
	}
	r.WithoutIdle(&report.Report)
	report.Matrix = s.Network.Matrix
	for _, ro := range rollouts {
		report.Rollouts = append(report.Rollouts, ro.result())
	}
	for _, text := range s.Assert {
		a, _ := parseAssertion(text)
		report.Assertions = append(report.Assertions, a.hold(report))
	}
	return report, nil
}

// schedule schedules the traffic and the faults of the scenario on a run.
func (s *Scenario) schedule(r *run) {
	versions := map[string]uint64{}
	for _, t := range s.Traffic {
		for i := range max(t.Count, 1) {
			config := t.Config
			if t.Configs > 1 {
				config += "-" + strconv.Itoa(i%t.Configs)
			}
			at := time.Duration(t.At) + time.Duration(i)*time.Duration(t.Every)
			r.w.At(r.Start.Add(at), func() { t.update(r, config, versions) })
		}
	}
	for i, f := range s.Faults {
		for n := range max(f.Times, 1) {
			again := f.fault()
			again.At += time.Duration(n) * time.Duration(f.Every)
			r.w.Strike(again, r.Start, i+n*len(s.Faults), func(text string) { r.note(text, true) })
		}
	}
}

// maxNoted is the number of updates of a stream up to which each update is a note on the
// timeline.
const maxNoted = 5

// update performs one update of config. versions holds the newest version of each config.
func (t *TrafficPart) update(r *run, config string, versions map[string]uint64) {
	version := versions[config] + 1
	if t.Rollback {
		version = max(versions[config], 2) - 1
	} else {
		versions[config] = version
		if t.Body > 0 {
			r.w.SetBodySize(world.Key(config, version), int64(t.Body))
		}
	}
	r.Meter.Move(world.Change{Config: config, Version: version}, t.Rollback)
	if t.Count <= maxNoted {
		r.note(fmt.Sprintf("%s: version %d", config, version), false)
	}
}
