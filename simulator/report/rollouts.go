package report

import (
	"fmt"
	"html"
	"html/template"
	"io"

	"banyan/simulator/scenario"
)

// rolloutsView is the input of the template rollouts.html.
type rolloutsView struct {
	Nodes   int
	Cause   scenario.Rollouts
	Rows    []scenario.RolloutRow
	Picture template.HTML
}

// WriteRollouts writes the results of rollout plans as a table and a drawing.
func WriteRollouts(w io.Writer, nodes int, c scenario.Rollouts, rows []scenario.RolloutRow) error {
	return tmpl.ExecuteTemplate(w, "rollouts.html", rolloutsView{
		Nodes:   nodes,
		Cause:   c,
		Rows:    rows,
		Picture: blastRadius(rows),
	})
}

// blastRadius draws each plan as a point on two logarithmic scales: the time of a good version
// from left to right, and the share of hosts that ran a bad version from bottom to top.
func blastRadius(rows []scenario.RolloutRow) template.HTML {
	if len(rows) == 0 {
		return ""
	}
	const height, names = 380.0, 330.0
	x := axis{min: 1, max: 10, log: true, from: left + 20, to: chartWidth - names}
	y := axis{min: 0.0001, max: 1, log: true, from: height - bottom, to: top + 10}
	for _, r := range rows {
		x.max = max(x.max, r.Good.Seconds*1.3)
		for y.min > max(r.Bad.ExposedShare, 1e-6)/1.5 {
			y.min /= 10
		}
	}
	var d canvas
	for _, v := range x.ticks() {
		d.line(x.at(v), y.to, x.at(v), y.from, "grid")
		d.text(x.at(v), y.from+16, "middle", "tick", number(v)+" s")
	}
	for v := 1.0; v >= y.min*0.999; v /= 10 {
		d.line(x.from, y.at(v), x.to, y.at(v), "grid")
		d.text(x.from-6, y.at(v)+4, "end", "tick", number(v*100)+"%")
	}
	d.text((x.from+x.to)/2, height-8, "middle", "axis", "until a good version is everywhere and has baked")
	d.add(`<text transform="translate(13 %.0f) rotate(-90)" text-anchor="middle" class="axis">`+
		`hosts that ran a bad version</text>`, (y.from+y.to)/2)
	for i, r := range rows {
		px, py := x.at(r.Good.Seconds), y.at(max(r.Bad.ExposedShare, y.min))
		class := palette[i%len(palette)]
		d.add(`<circle cx="%.1f" cy="%.1f" r="11" class="dot %s"><title>%s</title></circle>`,
			px, py, class, html.EscapeString(r.Plan))
		d.text(px, py+4, "middle", "digit", fmt.Sprint(i+1))
		row := top + 14 + float64(i)*34
		d.add(`<circle cx="%.1f" cy="%.1f" r="9" class="dot %s"/>`, x.to+24, row-4, class)
		d.text(x.to+24, row, "middle", "digit", fmt.Sprint(i+1))
		d.text(x.to+40, row-5, "start", "name", short(r.Plan, 46))
		d.text(x.to+40, row+9, "start", "note", fmt.Sprintf("%s hosts, back in %s s",
			thousands(fmt.Sprint(r.Bad.Exposed)), number(r.Bad.RecoverySeconds)))
	}
	return svg(chartWidth, height, "Blast radius against latency, by plan", d.String())
}
