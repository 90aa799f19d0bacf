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

// maxScenario is the largest scenario file, in bytes.
const maxScenario = 1 << 20

// Scenario is a fleet, what happens to it, and what must come of it: a YAML file
// that scenario.schema.json describes.
type Scenario struct {
	Name     string            `yaml:"name"`
	About    string            `yaml:"about"`
	Seed     uint64            `yaml:"seed"`
	Duration quantity.Duration `yaml:"duration"`
	Fleet    FleetPart         `yaml:"fleet"`
	Network  NetworkPart       `yaml:"network"`
	Costs    *CostsPart        `yaml:"costs"`
	Traffic  []Traffics        `yaml:"traffic"`
	Faults   []FaultPart       `yaml:"faults"`
	Rollouts []RolloutDef      `yaml:"rollouts"`
	Assert   []string          `yaml:"assert"`

	dir string // where its files are
}

// FleetPart is the fleet of a scenario.
type FleetPart struct {
	Agents    int               `yaml:"agents"`  // in all, shared out evenly
	Regions   int               `yaml:"regions"` // the first so many of the matrix
	ByRegion  map[string]int    `yaml:"byRegion"`
	Zones     int               `yaml:"zones"`
	Fanout    int               `yaml:"fanout"`
	Heads     quantity.Duration `yaml:"heads"`
	Slow      quantity.Percent  `yaml:"slow"`
	ClockSkew quantity.Duration `yaml:"clockSkew"`
}

// NetworkPart is the network of a scenario.
type NetworkPart struct {
	Matrix      string             `yaml:"matrix"` // a preset, or a CSV file beside the scenario
	Loss        quantity.Percent   `yaml:"loss"`
	Jitter      quantity.Percent   `yaml:"jitter"`
	Link        quantity.Bandwidth `yaml:"link"` // of a host, each way
	Up          quantity.Bandwidth `yaml:"up"`   // of a host, where it differs from link
	Down        quantity.Bandwidth `yaml:"down"`
	Coordinator quantity.Bandwidth `yaml:"coordinator"`
	Voters      []string           `yaml:"voters"` // regions whose stores vote; default three zones of the first
}

// CostsPart overrides processor times.
type CostsPart struct {
	Receive quantity.Duration `yaml:"receive"`
	Send    quantity.Duration `yaml:"send"`
	Verify  quantity.Duration `yaml:"verify"`
	Connect quantity.Duration `yaml:"connect"`
	Apply   quantity.Duration `yaml:"apply"`
	Store   quantity.Duration `yaml:"store"`
}

// Traffics is a stream of updates.
type Traffics struct {
	At       quantity.Duration `yaml:"at"`
	Config   string            `yaml:"config"`
	Configs  int               `yaml:"configs"` // spread over so many configs, named with a number behind
	Every    quantity.Duration `yaml:"every"`
	Count    int               `yaml:"count"`
	Body     quantity.Size     `yaml:"body"`
	Rollback bool              `yaml:"rollback"` // to the version before
}

// FaultPart is a world.Fault as it is written.
type FaultPart struct {
	At     quantity.Duration `yaml:"at"`
	For    quantity.Duration `yaml:"for"`
	Kind   world.FaultKind   `yaml:"kind"`
	Target string            `yaml:"target"`
	To     string            `yaml:"to"`
	OneWay bool              `yaml:"oneWay"`
	Factor float64           `yaml:"factor"`
	Times  int               `yaml:"times"` // it happens again so often in all, Every so much later
	Every  quantity.Duration `yaml:"every"`
}

func (f FaultPart) fault() world.Fault {
	return world.Fault{
		At:     time.Duration(f.At),
		For:    time.Duration(f.For),
		Kind:   f.Kind,
		Target: f.Target,
		To:     f.To,
		OneWay: f.OneWay,
		Factor: f.Factor,
	}
}

// Library lists the scenarios that come with the simulator, by name, with what
// each is about.
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
			panic(err) // TestTheLibraryIsValid
		}
		all[name] = s.About
	}
	return all
}

// Load reads a scenario: one of the library by its name, or a file.
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

// Names lists the scenarios that come with the simulator, in order.
func Names() []string {
	entries, _ := fs.ReadDir(library, "scenarios")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Parse reads a scenario and holds it against its schema and against
// itself; dir is where files that it names are looked for.
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
		return nil, fmt.Errorf("%w: %s", record.ErrInvalid, err)
	}
	cfg, err := s.Config()
	if err != nil {
		return nil, err
	}
	return s, s.check(cfg)
}

// inScenario tells of what is wrong with a file as something wrong with a scenario.
func inScenario(err error) error {
	var r *draft.Rejection
	if !errors.As(err, &r) {
		return err
	}
	return fmt.Errorf("%w: %s", record.ErrInvalid, r.At())
}

// Config is the fleet and its network.
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
	cfg := world.Config{Seed: s.Seed, Zones: s.Fleet.Zones, Fanout: s.Fleet.Fanout, Heads: time.Duration(s.Fleet.Heads),
		SlowShare: float64(s.Fleet.Slow), ClockSkew: time.Duration(s.Fleet.ClockSkew)}
	if cfg.Heads == 0 {
		cfg.Heads = world.DefaultHeads
	}
	n := s.Network
	cfg.Network = world.Network{Matrix: matrix, Loss: float64(n.Loss), Jitter: float64(n.Jitter),
		UpBps: float64(cmp.Or(n.Up, n.Link)), DownBps: float64(cmp.Or(n.Down, n.Link)), RootBps: float64(n.Coordinator)}
	cfg.Agents = world.Uniform(s.Fleet.Agents, len(matrix.Regions))
	for region, agents := range s.Fleet.ByRegion {
		i := matrix.Index(region)
		if i < 0 {
			return cfg, fmt.Errorf("%w: fleet: the matrix has no region %q", record.ErrInvalid, region)
		}
		cfg.Agents[i] += agents
	}
	for _, region := range n.Voters {
		i := matrix.Index(region)
		if i < 0 {
			return cfg, fmt.Errorf("%w: voters: the matrix has no region %q", record.ErrInvalid, region)
		}
		cfg.Voters = append(cfg.Voters, i)
	}
	if c := s.Costs; c != nil {
		cfg.Costs = world.DefaultCosts()
		for _, o := range []struct {
			field *time.Duration
			value quantity.Duration
		}{{&cfg.Costs.Receive, c.Receive}, {&cfg.Costs.Send, c.Send}, {&cfg.Costs.Verify, c.Verify},
			{&cfg.Costs.Connect, c.Connect}, {&cfg.Costs.Apply, c.Apply}, {&cfg.Costs.Store, c.Store}} {
			if o.value != 0 {
				*o.field = time.Duration(o.value)
			}
		}
	}
	return cfg, cfg.Complete()
}

// maxSamples bounds what a run remembers: updates times hosts.
const maxSamples = 200_000_000

// check holds the parts of a scenario against each other.
func (s *Scenario) check(cfg world.Config) error {
	updates := 0
	for _, t := range s.Traffic {
		if err := record.ValidateConfig(t.Config); err != nil {
			return err
		}
		if t.Count > 1 && t.Every <= 0 {
			return fmt.Errorf("%w: traffic on %s: %d updates need an interval, 'every'", record.ErrInvalid, t.Config, t.Count)
		}
		updates += max(t.Count, 1)
	}
	agents := 0
	for _, n := range cfg.Agents {
		agents += n
	}
	if updates*agents > maxSamples {
		return fmt.Errorf("%w: %d updates of %d agents are more than a run can follow; at most %d of both multiplied", record.ErrInvalid, updates, agents, maxSamples)
	}
	for _, f := range s.Faults {
		if err := f.fault().Check(&cfg); err != nil {
			return err
		}
		if f.Times > 1 && f.Every <= 0 {
			return fmt.Errorf("%w: fault %q: %d times need an interval, 'every'", record.ErrInvalid, f.fault(), f.Times)
		}
		if time.Duration(f.At) > time.Duration(s.Duration) {
			return fmt.Errorf("%w: fault %q begins after the end of the run", record.ErrInvalid, f.fault())
		}
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

// timelineSamples is how often a run looks at the state of the fleet.
const timelineSamples = 240

// Run runs the scenario and says whether its assertions hold. It ends early, with
// measure.ErrStopped, when done is closed.
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
		up, _ := r.w.Attached()
		r.timeline = append(r.timeline, Sample{r.second(), r.Meter.Coverage(), float64(up) / float64(max(r.w.Hosts()-r.w.Regions(), 1))})
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

// schedule arranges the traffic and the faults.
func (s *Scenario) schedule(r *run) {
	versions := map[string]uint64{}
	for _, t := range s.Traffic {
		for i := range max(t.Count, 1) {
			config := t.Config
			if t.Configs > 1 {
				config += "-" + strconv.Itoa(i%t.Configs)
			}
			at := r.Start.Add(time.Duration(t.At) + time.Duration(i)*time.Duration(t.Every))
			r.w.At(at, func() {
				version := versions[config] + 1
				if t.Rollback {
					version = max(versions[config], 2) - 1
				} else {
					versions[config] = version
					if t.Body > 0 {
						r.w.SetBodySize(record.VersionKey{Config: config, Version: version}, int64(t.Body))
					}
				}
				r.Meter.Move(world.Change{Config: config, Version: version}, t.Rollback)
				if t.Count <= 5 {
					r.note(fmt.Sprintf("%s: version %d", config, version), false)
				}
			})
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
