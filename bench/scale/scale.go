package scale

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Config configures Run.
type Config struct {
	// Quick measures a tenth of each scale, in some seconds.
	Quick bool
	// Dir is the directory for stores; default the system's for temporary files. They are removed.
	Dir string
	// Say reports progress; nil for no reports.
	Say func(format string, args ...any)
}

// Row is one scale: what was measured on commit 78aa158, or on the commit that Before names, and what is
// now.
type Row struct {
	Scale  string `json:"scale"`
	What   string `json:"what"`
	Before string `json:"before"` // at the full scale
	Now    string `json:"now"`
}

// Run measures every scale. Without Quick it needs some 2 GB of memory and some minutes.
func Run(ctx context.Context, cfg Config) ([]Row, error) {
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	dir, err := os.MkdirTemp(cfg.Dir, "banyan-scale-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	m := &measurement{cfg: cfg, dir: dir}
	var rows []Row
	for _, measure := range []func(context.Context) (Row, error){
		m.silence, m.census50, m.census256, m.catchUp, m.leader, m.restart, m.names, m.updates, m.rollouts,
	} {
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		row, err := measure(ctx)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", row.Scale, err)
		}
		cfg.Say("%s: %s", row.Scale, row.Now)
		rows = append(rows, row)
	}
	return rows, nil
}

// measurement measures the rows.
type measurement struct {
	cfg Config
	dir string
}

// of returns n, or a tenth of n in a quick run.
func (m *measurement) of(n int) int {
	if m.cfg.Quick {
		return n / 10
	}
	return n
}

func (m *measurement) silence(context.Context) (Row, error) {
	r, err := Silence(m.of(10_000), m.of(10_000))
	return Row{
		Scale:  fmt.Sprintf("%s agents × %s configs", thousands(r.Agents), thousands(r.Configs)),
		What:   "longest stall of the coordinator's node, a minute after its start",
		Before: "2.4 s",
		Now:    short(r.Longest),
	}, err
}

func (m *measurement) census50(context.Context) (Row, error) { return m.census(50, "1.2 s") }

func (m *measurement) census256(context.Context) (Row, error) { return m.census(256, "6.7 s") }

func (m *measurement) census(rollouts int, before string) (Row, error) {
	r, err := Census(m.of(100_000), rollouts)
	first := r.First / time.Duration(rollouts)
	return Row{
		Scale:  fmt.Sprintf("%s agents, %d rollouts", thousands(r.Agents), rollouts),
		What:   "a census, which comes every 3 s",
		Before: before,
		Now:    fmt.Sprintf("%s; %s once for each wave", short(r.Next), short(first)),
	}, err
}

func (m *measurement) catchUp(context.Context) (Row, error) {
	r, err := CatchUp(m.of(16_000))
	return Row{
		Scale:  fmt.Sprintf("%s configs, a new agent", thousands(r.Configs)),
		What:   "processor time of its node, and bodies asked for",
		Before: "9.7 s, each body twice",
		Now:    fmt.Sprintf("%s, %s bodies, %d at a time", short(r.CPU), thousands(r.Asked), r.Flying),
	}, err
}

func (m *measurement) leader(context.Context) (Row, error) {
	r := Leader(100, m.of(10_000))
	return Row{
		Scale:  fmt.Sprintf("%d regions × %s configs", r.Regions, thousands(r.Configs)),
		What:   "pointers that are stored and never announced; cost of one at the leader",
		Before: "all but 100,000",
		Now: fmt.Sprintf("%s; %.1f KB, %s", thousands(r.Refused),
			float64(r.Bytes)/float64(max(r.Regions*r.Configs-r.Refused, 1))/1000, short(r.PerPointer)),
	}, nil
}

func (m *measurement) restart(ctx context.Context) (Row, error) {
	r, err := Restart(ctx, m.dir+"/restart", m.of(100_000))
	return Row{
		Scale:  fmt.Sprintf("%s configs with a rollout, a restart", thousands(r.Stored)),
		What:   "rollouts that the leader finds",
		Before: "10,000",
		Now:    fmt.Sprintf("%s, in %s", thousands(r.Found), short(r.Took)),
	}, err
}

func (m *measurement) names(context.Context) (Row, error) {
	r, err := Names(m.of(1_000_000))
	return Row{
		Scale:  "agents per coordinator, ever",
		What:   "names that get a place, one after another",
		Before: "131,072",
		Now:    fmt.Sprintf("%s, of which %s are remembered", thousands(r.Placed), thousands(r.Known)),
	}, err
}

func (m *measurement) updates(ctx context.Context) (Row, error) {
	row := Row{
		Scale:  fmt.Sprintf("%s updates/s of other configs", thousands(updateRate)),
		What:   "processor time of a host, and of its link, for each",
		Before: "131 µs (612cdc9)",
	}
	single, err := Updates(ctx, m.dir+"/single", m.of(5000), false)
	if err != nil {
		return row, err
	}
	batches, err := Updates(ctx, m.dir+"/batches", m.of(5000), true)
	row.Now = fmt.Sprintf("%s; %s with a signature for each", short(batches.PerUpdate), short(single.PerUpdate))
	return row, err
}

func (m *measurement) rollouts(ctx context.Context) (Row, error) {
	rollouts, regions := 256, 100
	if m.cfg.Quick {
		rollouts, regions = 80, 20
	}
	r, err := Rollouts(ctx, m.dir+"/rollouts", rollouts, regions)
	return Row{
		Scale:  fmt.Sprintf("%d rollouts × %d regions", rollouts, regions),
		What:   "processor share of a leader at rest",
		Before: "a core",
		Now:    fmt.Sprintf("%.0f%% of a core", 100*r.Share),
	}, err
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// thousands returns n with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
