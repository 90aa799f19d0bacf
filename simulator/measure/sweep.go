package measure

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"banyan/simulator/world"
)

// Sweep is a set of fleets: every size in Nodes with every fan-out in Fanouts.
type Sweep struct {
	Nodes   []int
	Fanouts []int
}

// SweepRow is the result of one fleet of a sweep.
type SweepRow struct {
	Nodes    int           `json:"nodes"`
	Fanout   int           `json:"fanout"`
	Depth    int           `json:"depth"`
	P50      float64       `json:"p50_ms"`
	P99      float64       `json:"p99_ms"`
	Rollback float64       `json:"rollback_p99_ms"`
	RootCPU  time.Duration `json:"coordinator_cpu_per_update_ns"`
	// RelayCPU is the processor time of the busiest relay.
	RelayCPU time.Duration `json:"relay_cpu_per_update_ns"`
	RootSent int64         `json:"coordinator_bytes_per_update"`
	// Bytes is the number of bytes that all hosts send.
	Bytes int64 `json:"bytes_per_update"`
	// Best marks the best fan-out of each size.
	Best   bool `json:"best"`
	Missed int  `json:"missed"`
}

// maxSweep is the largest number of fleets in a sweep.
const maxSweep = 400

// Sizes returns steps fleet sizes from from to to, in geometric progression. Example:
// Sizes(1000, 100000, 3) is 1000, 10000, 100000.
func Sizes(from, to, steps int) ([]int, error) {
	if from < 1 || to < from || to > world.MaxAgents {
		return nil, fmt.Errorf("%w: fleet sizes from %d to %d; the smallest is 1, the largest %d",
			world.ErrInvalid, from, to, world.MaxAgents)
	}
	if steps < 1 {
		return nil, fmt.Errorf("%w: %d fleet sizes; at least 1 is needed", world.ErrInvalid, steps)
	}
	if steps == 1 || from == to {
		return []int{to}, nil
	}
	var all []int
	for i := range steps {
		share := float64(i) / float64(steps-1)
		all = append(all, int(math.Round(float64(from)*math.Pow(float64(to)/float64(from), share))))
	}
	return slices.Compact(all), nil
}

// Run simulates each fleet, in the order of s.Nodes, and calls say with each result.
func (s Sweep) Run(base world.Config, say func(SweepRow)) ([]SweepRow, error) {
	if n := len(s.Nodes) * len(s.Fanouts); n == 0 || n > maxSweep {
		return nil, fmt.Errorf("%w: a sweep of %d fleets; it must have 1 to %d", world.ErrInvalid, n, maxSweep)
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
	row := SweepRow{
		Nodes:    r.Nodes,
		Fanout:   r.Fanout,
		Depth:    r.Depth,
		P50:      r.P50,
		P99:      r.P99,
		Rollback: r.Rollback.P99,
		RootCPU:  r.Capacity.CoordinatorCPU,
		RootSent: r.Capacity.CoordinatorBytes,
		Missed:   r.Missed,
		RelayCPU: Role(r.Roles, RoleRelay).Busiest.CPU / time.Duration(updates),
	}
	for _, t := range r.Roles {
		row.Bytes += t.Total.Bytes / int64(updates)
	}
	return row
}

// best marks one row as the best: among the rows whose P99 is within 1% of the lowest P99,
// the row whose busiest host spends the least processor time.
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
