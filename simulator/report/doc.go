// Package report writes the result of a simulation as one HTML file. The file has no script,
// no font and no picture from elsewhere, so it can be mailed and opened years later.
//
// Entry points: [Write] for a run, [WriteSweep] for a sweep, [WriteRollouts] for compared
// rollout plans.
//
//	Document ──► chart.go, bars.go, heat.go: SVG drawings ──► report.html (template) ──► bytes
//
// Promises: one document gives the same bytes. A page is readable in light and dark mode.
// Every drawing names its units, and has its numbers beside it or in its titles.
package report
