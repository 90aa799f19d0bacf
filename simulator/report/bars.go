package report

import (
	"html"
	"html/template"
	"math"
)

// bar is one row of a bar chart. Its spans are drawn over each other, the first at the bottom.
type bar struct {
	name  string
	spans []span
	label string
}

// span is a part of a bar, with a title for the reader's pointer.
type span struct {
	from, to float64
	class    string
	title    string
}

// bars draws a bar chart, on a logarithmic scale if log is true.
func bars(title, xTitle string, rows []bar, log bool) template.HTML {
	const rowHeight = 24.0
	names := 100.0
	for _, r := range rows {
		names = max(names, 20+6.3*float64(len([]rune(r.name))))
	}
	lo, hi := math.Inf(1), 0.0
	for _, r := range rows {
		for _, s := range r.spans {
			hi = max(hi, s.to)
			if s.to > 0 {
				lo = min(lo, s.to)
			}
		}
	}
	height := float64(len(rows))*rowHeight + 50
	x := axis{max: max(hi, 1e-9), from: names, to: chartWidth - 120}
	if log {
		x.log = true
		x.min = max(math.Pow(10, math.Floor(math.Log10(lo))), 1e-9)
		x.max = max(hi, x.min*10)
	}
	var d canvas
	for _, v := range x.ticks() {
		d.line(x.at(v), 6, x.at(v), height-40, "grid")
		d.text(x.at(v), height-24, "middle", "tick", number(v))
	}
	for i, r := range rows {
		y := 8 + float64(i)*rowHeight
		d.text(names-8, y+13, "end", "name", r.name)
		end := x.from
		for _, s := range r.spans {
			from, to := x.at(max(s.from, x.min)), x.at(max(s.to, x.min))
			d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="16" rx="2" class="%s"><title>%s</title></rect>`,
				from, y, max(to-from, 1), s.class, html.EscapeString(s.title))
			end = max(end, to)
		}
		d.text(end+6, y+13, "start", "tick", r.label)
	}
	d.text((x.from+x.to)/2, height-6, "middle", "axis", xTitle)
	return svg(chartWidth, height, title, d.String())
}
