// Package report draws a benchmark's result as one HTML page that needs nothing else: no script, no network, its plots inline SVG.
package report
