// Package report shows what a simulation found as one HTML file that stands alone:
// no script, no font, no picture from elsewhere, so it can be mailed and opened
// years later.
//
// Entry point: [Write].
//
//	simulator.Report ──► chart.go: SVG drawings ──► report.html (template) ──► bytes
//
// Promises: one report gives the same bytes; it reads in light and dark; every
// picture says its units and has its numbers beside it or in its title.
package report
