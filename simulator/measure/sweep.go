package measure

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"banyan/record"
	"banyan/simulator/world"
)

// Sweep is a set of fleets to be simulated: each size with each fan-out.
type Sweep struct {
	Nodes   []int
	Fanouts []int
}

// SweepRow is what one of them came to.
type SweepRow struct {
	Nodes    int           `json:"nodes"`
	Fanout   int           `json:"fanout"`
	Depth    int           `json:"depth"`
	P50      float64       `json:"p50_ms"`
	P99      float64       `json:"p99_ms"`
	Rollback float64       `json:"rollback_p99_ms"`
	RootCPU  time.Duration `json:"coordinator_cpu_per_update_ns"`
	RelayCPU time.Duration `json:"relay_cpu_per_update_ns"` // the busiest relay's
	RootSent int64         `json:"coordinator_bytes_per_update"`
	Bytes    int64         `json:"bytes_per_update"` // of all hosts
	Best     bool          `json:"best"`             // of its size
	Missed   int           `json:"missed"`
}

// maxSweep bounds the number of fleets in a sweep.
const maxSweep = 400

// Sizes spreads so many fleet sizes from one to another, each as many times larger
// than the last.
func Sizes(from, to, steps int) ([]int, error) {
	if from < 1 || to < from || to > world.MaxAgents || steps < 1 {
		return nil, fmt.Errorf("%w: sizes from %d to %d; 1 to %d, growing, are possible", record.ErrInvalid, from, to, world.MaxAgents)
	}
	if steps == 1 || from == to {
		return []int{to}, nil
	}
	var all []int
	for i := range steps {
		all = append(all, int(math.Round(float64(from)*math.Pow(float64(to)/float64(from), float64(i)/float64(steps-1)))))
	}
	return slices.Compact(all), nil
}

// Run simulates each fleet, smallest first; say is told of each as it is done.
func (s Sweep) Run(base world.Config, say func(SweepRow)) ([]SweepRow, error) {
	if n := len(s.Nodes) * len(s.Fanouts); n == 0 || n > maxSweep {
		return nil, fmt.Errorf("%w: a sweep of %d fleets; 1 to %d are possible", record.ErrInvalid, n, maxSweep)
	}
	regions := len(base.Agents)
	var rows []SweepRow
	for _, nodes := range s.Nodes {
		first := len(rows)
		for _, fanout := range s.Fanouts {
			cfg := base
			cfg.Agents, cfg.Fanout = world.Uniform(nodes, regions), fanout
			r, err := Fleet(cfg)
			if err != nil {
				return rows, fmt.Errorf("%d nodes, fan-out %d: %w", nodes, fanout, err)
			}
			row := sweepRow(r)
			rows = append(rows, row)
			say(row)
		}
		best(rows[first:])
	}
	return rows, nil
}

func sweepRow(r *Report) SweepRow {
	updates := max(r.Updates, 1)
	row := SweepRow{Nodes: r.Nodes, Fanout: r.Fanout, Depth: r.Depth, P50: r.P50, P99: r.P99, Rollback: r.Rollback.P99,
		RootCPU: r.Capacity.CoordinatorCPU, RootSent: r.Capacity.CoordinatorBytes, Missed: r.Missed,
		RelayCPU: Role(r.Roles, RoleRelay).Busiest.CPU / time.Duration(updates)}
	for _, t := range r.Roles {
		row.Bytes += t.Total.Bytes / int64(updates)
	}
	return row
}

// best marks the fan-out that is fastest; of those within 1% of it, the one whose
// busiest host works least.
func best(rows []SweepRow) {
	fastest := slices.MinFunc(rows, func(a, b SweepRow) int { return cmp.Compare(a.P99, b.P99) }).P99
	pick := -1
	for i, row := range rows {
		busiest := max(row.RootCPU, row.RelayCPU)
		if row.P99 <= 1.01*fastest && (pick < 0 || busiest < max(rows[pick].RootCPU, rows[pick].RelayCPU)) {
			pick = i
		}
	}
	rows[pick].Best = true
}
