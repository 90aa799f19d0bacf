package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"

	"banyan/simulator/compare"
	"banyan/simulator/measure"
	"banyan/simulator/scenario"
)

//go:embed *.html
var page embed.FS

var tmpl = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"number": number,
	"bytes":  bytesText,
	"cpu":    cpuText,
	"pct":    func(v float64) string { return trim(100*v) + "%" },
	"usd":    func(v float64) string { return "$" + trim(v) },
	"count":  func(v any) string { return thousands(fmt.Sprint(v)) },
}).ParseFS(page, "*.html"))

// Document is everything that a page shows: a run, and the strategies that were compared
// on its fleet. A run without a scenario has only the fields of measure.Report.
type Document struct {
	scenario.Report
	Strategies []compare.StrategyResult `json:"strategies,omitempty"`
}

// view is the input of the template report.html: a document, its drawings, and the rows of a
// sweep.
type view struct {
	*Document
	Title    string
	CDF      template.HTML
	Region   template.HTML
	Heat     template.HTML
	Bytes    template.HTML
	Timeline template.HTML
	Compared template.HTML
	Cost     template.HTML
	Limits   template.HTML
	Sweep    []measure.SweepRow
	SweepBy  template.HTML
}

// Write writes the report as HTML.
func Write(w io.Writer, r *Document) error {
	v := view{
		Document: r,
		Title:    title(r),
		CDF:      cdf(r),
		Region:   regions(r),
		Heat:     heatMap(r),
		Bytes:    byRole(r),
		Limits:   limits(r),
	}
	if len(r.Timeline) > 1 {
		v.Timeline = timeline(r)
	}
	if len(r.Strategies) > 0 {
		v.Compared = compared(r)
		v.Cost = cost(r)
	}
	return tmpl.Execute(w, v)
}

// WriteSweep writes the report of a sweep.
func WriteSweep(w io.Writer, rows []measure.SweepRow) error {
	return tmpl.Execute(w, view{
		Document: &Document{},
		Title:    "The best fan-out for each fleet size",
		Sweep:    rows,
		SweepBy:  sweep(rows),
	})
}

// title returns the name of the scenario, or describes the fleet.
func title(r *Document) string {
	if r.Scenario != "" {
		return r.Scenario
	}
	return fmt.Sprintf("%s hosts in %d regions", thousands(fmt.Sprint(r.Nodes)), r.Regions)
}

func points(all []measure.Point) (out [][2]float64) {
	for _, p := range all {
		out = append(out, [2]float64{p.Ms, p.Share})
	}
	return out
}

// cdf draws the share of hosts that have an update, by time.
func cdf(r *Document) template.HTML {
	c := chart{
		xTitle:   "milliseconds from the publisher's command to the durable apply",
		yTitle:   "share of hosts",
		percentY: true,
	}
	if len(r.CDF) > 0 {
		c.series = append(c.series, series{name: "new version", points: points(r.CDF)})
	}
	if len(r.RollbackCDF) > 0 {
		c.series = append(c.series, series{name: "rollback", points: points(r.RollbackCDF)})
	}
	if len(c.series) == 0 {
		return ""
	}
	c.logX = r.Max > 20*max(r.P50, 1)
	c.marks = []mark{{r.Bound, fmt.Sprintf("physical floor %s ms", number(r.Bound)), "floor"}}
	return c.draw("Share of hosts that have an update, by time")
}

// regions draws the latency of each region.
func regions(r *Document) template.HTML {
	var rows []bar
	spread := 1.0
	for _, l := range r.ByRegion {
		if l.Count == 0 {
			continue
		}
		spread = max(spread, l.Max/max(l.P50, 0.1))
		rows = append(rows, bar{
			name:  l.Region,
			label: fmt.Sprintf("%s / %s / %s", number(l.P50), number(l.P99), number(l.Max)),
			spans: []span{
				{0, l.P50, "c0", fmt.Sprintf("half of the hosts within %s ms", number(l.P50))},
				{l.P50, l.P99, "c1", fmt.Sprintf("99%% within %s ms", number(l.P99))},
				{l.P99, l.Max, "c2", fmt.Sprintf("all within %s ms", number(l.Max))},
			},
		})
	}
	if len(rows) == 0 {
		return ""
	}
	return bars("Time to each region", "milliseconds: half / 99% / all of the region's hosts", rows, spread > 20)
}

// heatMap draws the quantiles of each region.
func heatMap(r *Document) template.HTML {
	var rows []heatRow
	for _, l := range r.ByRegion {
		if l.Count > 0 {
			rows = append(rows, heatRow{l.Region, []float64{l.P50, l.P90, l.P99, l.P999, l.Max}})
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return heat("Region by percentile", []string{"50%", "90%", "99%", "99.9%", "max"}, rows)
}

// byRole draws the bytes that the hosts of each role send for one update.
func byRole(r *Document) template.HTML {
	var rows []bar
	updates := float64(max(r.Updates, 1))
	for _, t := range r.Roles {
		mean := float64(t.Total.Bytes) / updates / float64(max(t.Hosts, 1))
		busiest := float64(t.Busiest.Bytes) / updates
		rows = append(rows, bar{
			name:  fmt.Sprintf("%s (%s)", t.Role, thousands(fmt.Sprint(t.Hosts))),
			label: bytesText(mean) + " / " + bytesText(busiest),
			spans: []span{
				{0, busiest, "c1", "the busiest host sends " + bytesText(busiest)},
				{0, mean, "c0", "the mean host sends " + bytesText(mean)},
			},
		})
	}
	if len(rows) == 0 {
		return ""
	}
	return bars("Bytes sent per update, by role", "bytes sent by one host for one update: mean / busiest", rows, true)
}

// timeline draws the coverage over time, with the faults.
func timeline(r *Document) template.HTML {
	coverage := series{name: "has the newest"}
	up := series{name: "is up"}
	for _, s := range r.Timeline {
		coverage.points = append(coverage.points, [2]float64{s.Second, s.Coverage})
		up.points = append(up.points, [2]float64{s.Second, s.Up})
	}
	c := chart{xTitle: "seconds", yTitle: "share of hosts", percentY: true, series: []series{coverage, up}}
	for _, n := range r.Notes {
		kind := "event"
		if n.Fault {
			kind = "fault"
		}
		c.marks = append(c.marks, mark{n.Second, n.Text, kind})
	}
	if len(c.marks) > 16 {
		c.marks = slices.DeleteFunc(c.marks, func(m mark) bool { return m.kind != "fault" })
	}
	return c.draw("Coverage against faults")
}

// compared draws the latency of every strategy.
func compared(r *Document) template.HTML {
	c := chart{
		xTitle:   "milliseconds to the durable apply (logarithmic)",
		yTitle:   "share of hosts",
		percentY: true,
		logX:     true,
	}
	for _, s := range r.Strategies {
		if s.Strategy != compare.CanaryFirst { // its line is that of the tree
			c.series = append(c.series, series{name: s.Strategy, points: points(s.CDF)})
		}
	}
	return c.draw("Strategies: share of hosts that have an update, by time")
}

// cost draws the processor time of the busiest coordinator under every strategy.
func cost(r *Document) template.HTML {
	var rows []bar
	for i, s := range r.Strategies {
		v := float64(s.Busiest.CPU) / 1e6
		rows = append(rows, bar{
			name:  s.Strategy,
			label: number(v) + " ms",
			spans: []span{{0, v, palette[i%len(palette)], s.How}},
		})
	}
	return bars("Processor time of the busiest coordinator",
		"milliseconds of processor at the busiest coordinator for one update (logarithmic)", rows, true)
}

// limits draws how much of each limit the fleet uses.
func limits(r *Document) template.HTML {
	if r.Capacity == nil {
		return ""
	}
	var rows []bar
	for _, l := range r.Capacity.Limits {
		rows = append(rows, bar{
			name:  short(l.What, 60),
			label: trim(100*l.Used) + "%",
			spans: []span{
				{0, 100, "track", l.What},
				{0, min(100*l.Used, 100), "c0", fmt.Sprintf("%s: %s%% used", l.What, trim(100*l.Used))},
			},
		})
	}
	return bars("How much of each limit is used", "percent of the limit that this fleet uses at ten updates a second", rows, false)
}

// sweep draws the latency of every fan-out by fleet size.
func sweep(rows []measure.SweepRow) template.HTML {
	byFanout := map[int]*series{}
	c := chart{xTitle: "hosts (logarithmic)", yTitle: "99% of hosts, ms", logX: true}
	var order []int
	for _, row := range rows {
		s := byFanout[row.Fanout]
		if s == nil {
			s = &series{name: fmt.Sprintf("fan-out %d", row.Fanout)}
			byFanout[row.Fanout] = s
			order = append(order, row.Fanout)
		}
		s.points = append(s.points, [2]float64{float64(row.Nodes), row.P99})
		c.yMax = max(c.yMax, 1.1*row.P99)
	}
	for _, f := range order {
		c.series = append(c.series, *byFanout[f])
	}
	return c.draw("Latency by fleet size and fan-out")
}
