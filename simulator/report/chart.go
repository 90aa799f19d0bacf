package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// series is one line of a chart, with a name in the legend.
type series struct {
	name   string
	points [][2]float64
	step   bool
}

// mark is a vertical line with a text.
type mark struct {
	x    float64
	text string
	kind string // CSS class
}

// chart is a line chart. By default, the horizontal axis is linear and covers all points, and
// the vertical axis runs from 0 to 1.
type chart struct {
	xTitle, yTitle string
	logX           bool
	// yMax is the end of the vertical axis; default 1.
	yMax     float64
	series   []series
	marks    []mark
	percentY bool
}

// The size and the margins of a drawing, in SVG units.
const (
	chartWidth  = 860.0
	chartHeight = 300.0
	left        = 56.0
	right       = 150.0 // room for the legend
	top         = 14.0
	bottom      = 44.0
)

// palette holds the CSS classes of lines and bars, in order.
var palette = []string{"c0", "c1", "c2", "c3", "c4", "c5"}

// canvas collects the elements of a drawing.
type canvas struct{ strings.Builder }

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(&c.Builder, format, args...) }

func (c *canvas) text(x, y float64, anchor, class, s string) {
	c.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

// svg wraps the elements of a drawing.
func svg(width, height float64, title string, body string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s</svg>`,
		width, height, html.EscapeString(title), body))
}

// axis maps the values from min to max to the coordinates from from to to.
type axis struct {
	min, max float64
	log      bool
	from, to float64
}

// at returns the coordinate of a value.
func (a axis) at(v float64) float64 {
	lo, hi := a.min, a.max
	if a.log {
		v = math.Log10(max(v, a.min))
		lo = math.Log10(lo)
		hi = math.Log10(hi)
	}
	if hi == lo {
		return a.from
	}
	return a.from + (v-lo)/(hi-lo)*(a.to-a.from)
}

// ticks returns round values along the axis.
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

// bounds returns the ends of the horizontal axis. A linear axis begins at 0 if the values begin
// in the first third of the axis.
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

// draw returns the drawing of the chart.
func (c chart) draw(title string) template.HTML {
	lo, hi := c.bounds()
	x := axis{min: lo, max: hi, log: c.logX, from: left, to: chartWidth - right}
	yMax := c.yMax
	if yMax == 0 {
		yMax = 1
	}
	y := axis{max: yMax, from: chartHeight - bottom, to: top}
	var d canvas
	c.grid(&d, x, y)
	c.drawMarks(&d, x, y)
	for i, s := range c.series {
		class := palette[i%len(palette)]
		d.add(`<path class="line %s" d="%s"><title>%s</title></path>`, class, s.path(x, y), html.EscapeString(s.name))
		row := top + 10 + float64(i)*17
		d.line(x.to+12, row-4, x.to+30, row-4, "line "+class)
		d.text(x.to+35, row, "start", "name", s.name)
	}
	return svg(chartWidth, chartHeight, title, d.String())
}

// drawMarks draws the marks. The texts of four marks in a row have different heights, so that
// they do not overlap.
func (c chart) drawMarks(d *canvas, x, y axis) {
	for i, m := range c.marks {
		px := x.at(m.x)
		d.line(px, top, px, y.from, "mark "+m.kind)
		d.add(`<g transform="translate(%.1f %.1f)"><title>%s</title>`,
			px, y.from-8-float64(i%4)*13, html.EscapeString(m.text))
		anchor, dx := "start", 4.0
		if px > (x.from+x.to)/2 {
			anchor, dx = "end", -4
		}
		d.text(dx, 0, anchor, "note", short(m.text, 60))
		d.add(`</g>`)
	}
}

// grid draws the grid and the labels of both axes.
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
	d.add(`<text transform="translate(13 %.0f) rotate(-90)" text-anchor="middle" class="axis">%s</text>`,
		(y.from+y.to)/2, html.EscapeString(c.yTitle))
}

// path returns the SVG path of a line.
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
