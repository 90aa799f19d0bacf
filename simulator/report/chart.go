package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// series is one line of a chart.
type series struct {
	name   string
	points [][2]float64
	step   bool
}

// mark is a vertical line with a word beside it.
type mark struct {
	x    float64
	text string
	kind string // CSS class
}

// chart is a line chart. Its zero values mean: linear, from the least to the most.
type chart struct {
	xTitle, yTitle string
	logX           bool
	yMax           float64
	series         []series
	marks          []mark
	percentY       bool
}

// The drawing's size and margins, in SVG units.
const (
	chartWidth  = 860.0
	chartHeight = 300.0
	left        = 56.0
	right       = 150.0 // names of the lines stand here
	top         = 14.0
	bottom      = 44.0
)

// palette holds the CSS classes of lines and bars, in order.
var palette = []string{"c0", "c1", "c2", "c3", "c4", "c5"}

type canvas struct{ strings.Builder }

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(&c.Builder, format, args...) }

func (c *canvas) text(x, y float64, anchor, class, s string) {
	c.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func svg(width, height float64, title string, body string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s</svg>`, width, height, html.EscapeString(title), body))
}

// axis maps values to places.
type axis struct {
	min, max float64
	log      bool
	from, to float64
}

func (a axis) at(v float64) float64 {
	lo, hi := a.min, a.max
	if a.log {
		v, lo, hi = math.Log10(max(v, a.min)), math.Log10(lo), math.Log10(hi)
	}
	if hi == lo {
		return a.from
	}
	return a.from + (v-lo)/(hi-lo)*(a.to-a.from)
}

// ticks are round values along the axis.
func (a axis) ticks() (all []float64) {
	if a.log {
		for p := math.Floor(math.Log10(a.min)); p <= math.Ceil(math.Log10(a.max)); p++ {
			for _, m := range []float64{1, 2, 5} {
				if v := m * math.Pow(10, p); v >= a.min && v <= a.max*1.0001 && (m == 1 || a.max/a.min < 300) {
					all = append(all, v)
				}
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10(max((a.max-a.min)/5, 1e-9))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (a.max-a.min)/(step*m) <= 6 {
			step *= m
			break
		}
	}
	for v := math.Ceil(a.min/step) * step; v <= a.max*1.0001; v += step {
		all = append(all, v)
	}
	return all
}

func (c chart) bounds() (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	see := func(x float64) { lo, hi = min(lo, x), max(hi, x) }
	for _, s := range c.series {
		for _, p := range s.points {
			see(p[0])
		}
	}
	for _, m := range c.marks {
		see(m.x)
	}
	if c.logX {
		lo = max(lo, 0.1)
	} else if lo > 0 && lo < hi/3 {
		lo = 0
	}
	return lo, max(hi, lo+1e-9)
}

func (c chart) draw(title string) template.HTML {
	lo, hi := c.bounds()
	x := axis{lo, hi, c.logX, left, chartWidth - right}
	yMax := c.yMax
	if yMax == 0 {
		yMax = 1
	}
	y := axis{0, yMax, false, chartHeight - bottom, top}
	var d canvas
	c.grid(&d, x, y)
	for i, m := range c.marks {
		px := x.at(m.x)
		d.line(px, top, px, y.from, "mark "+m.kind)
		d.add(`<g transform="translate(%.1f %.1f)"><title>%s</title>`, px, y.from-8-float64(i%4)*13, html.EscapeString(m.text))
		anchor, dx := "start", 4.0
		if px > (x.from+x.to)/2 {
			anchor, dx = "end", -4
		}
		d.text(dx, 0, anchor, "note", short(m.text, 60))
		d.add(`</g>`)
	}
	for i, s := range c.series {
		class := palette[i%len(palette)]
		d.add(`<path class="line %s" d="%s"><title>%s</title></path>`, class, s.path(x, y), html.EscapeString(s.name))
		row := top + 10 + float64(i)*17
		d.line(x.to+12, row-4, x.to+30, row-4, "line "+class)
		d.text(x.to+35, row, "start", "name", s.name)
	}
	return svg(chartWidth, chartHeight, title, d.String())
}

func (c chart) grid(d *canvas, x, y axis) {
	for _, v := range x.ticks() {
		d.line(x.at(v), top, x.at(v), y.from, "grid")
		d.text(x.at(v), y.from+16, "middle", "tick", number(v))
	}
	for _, v := range y.ticks() {
		d.line(x.from, y.at(v), x.to, y.at(v), "grid")
		label := number(v)
		if c.percentY {
			label = number(v*100) + "%"
		}
		d.text(x.from-6, y.at(v)+4, "end", "tick", label)
	}
	d.text((x.from+x.to)/2, chartHeight-8, "middle", "axis", c.xTitle)
	d.add(`<text transform="translate(13 %.0f) rotate(-90)" text-anchor="middle" class="axis">%s</text>`, (y.from+y.to)/2, html.EscapeString(c.yTitle))
}

func (s series) path(x, y axis) string {
	var b strings.Builder
	for i, p := range s.points {
		px, py := x.at(p[0]), y.at(p[1])
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M%.1f %.1f", px, py)
		case s.step:
			fmt.Fprintf(&b, "H%.1fV%.1f", px, py)
		default:
			fmt.Fprintf(&b, "L%.1f %.1f", px, py)
		}
	}
	return b.String()
}

// bar is one row of a bar chart: spans from a point to a point, drawn over each other.
type bar struct {
	name  string
	spans []span
	label string
}

type span struct {
	from, to float64
	class    string
	title    string
}

// bars draws rows of spans, on a logarithmic scale if they differ much.
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
	x := axis{0, max(hi, 1e-9), false, names, chartWidth - 120}
	if log {
		x.log, x.min = true, max(math.Pow(10, math.Floor(math.Log10(lo))), 1e-9)
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
			d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="16" rx="2" class="%s"><title>%s</title></rect>`, from, y, max(to-from, 1), s.class, html.EscapeString(s.title))
			end = max(end, to)
		}
		d.text(end+6, y+13, "start", "tick", r.label)
	}
	d.text((x.from+x.to)/2, height-6, "middle", "axis", xTitle)
	return svg(chartWidth, height, title, d.String())
}

// heat draws a table of values whose cells are the darker the larger they are.
func heat(title string, columns []string, rows []heatRow) template.HTML {
	const rowHeight, names, cell = 26.0, 150.0, 110.0
	lo, hi := math.Inf(1), 0.0
	for _, r := range rows {
		for _, v := range r.values {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	var d canvas
	for i, c := range columns {
		d.text(names+(float64(i)+0.5)*cell, 16, "middle", "axis", c)
	}
	for i, r := range rows {
		y := 24 + float64(i)*rowHeight
		d.text(names-8, y+17, "end", "name", r.name)
		for j, v := range r.values {
			share := 0.0
			if hi > lo {
				share = (math.Log(v+1) - math.Log(lo+1)) / (math.Log(hi+1) - math.Log(lo+1))
			}
			d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="heat" style="fill-opacity:%.3f"/>`, names+float64(j)*cell+1, y, cell-2, rowHeight-2, 0.08+0.87*share)
			class := "cell"
			if share > 0.55 {
				class = "cell over"
			}
			d.text(names+(float64(j)+0.5)*cell, y+17, "middle", class, number(v)+" ms")
		}
	}
	return svg(names+cell*float64(len(columns))+10, 30+rowHeight*float64(len(rows)), title, d.String())
}

type heatRow struct {
	name   string
	values []float64
}

// number writes a value with three significant digits and no exponent.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e9:
		return trim(v/1e9) + "G"
	case a >= 1e6:
		return trim(v/1e6) + "M"
	case a >= 10e3:
		return trim(v/1e3) + "k"
	}
	return trim(v)
}

func trim(v float64) string {
	digits := 2
	switch a := math.Abs(v); {
	case a >= 100:
		digits = 0
	case a >= 10:
		digits = 1
	case a != 0 && a < 0.1:
		digits = 4
	}
	s := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func short(s string, n int) string {
	r := []rune(s)
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
