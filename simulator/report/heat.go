package report

import (
	"html/template"
	"math"
)

// heat draws a table of values in milliseconds. A larger value has a darker cell.
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
			d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="heat" style="fill-opacity:%.3f"/>`,
				names+float64(j)*cell+1, y, cell-2, rowHeight-2, 0.08+0.87*share)
			class := "cell"
			if share > 0.55 {
				class = "cell over"
			}
			d.text(names+(float64(j)+0.5)*cell, y+17, "middle", class, number(v)+" ms")
		}
	}
	return svg(names+cell*float64(len(columns))+10, 30+rowHeight*float64(len(rows)), title, d.String())
}

// heatRow is a row of a heat map, with a value for each column.
type heatRow struct {
	name   string
	values []float64
}
