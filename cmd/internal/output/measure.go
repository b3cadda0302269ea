package output

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Bar is a bar of width cells, filled to share of it (0 to 1; beyond, to the end), to an eighth of a cell. Anything above 0 shows, and
// only 1 fills it.
func Bar(share float64, width int) string {
	if width <= 0 {
		return ""
	}
	eighths := 0
	switch {
	case share >= 1:
		eighths = 8 * width
	case share > 0: // not for NaN
		eighths = min(max(int(share*8*float64(width)), 1), 8*width-1)
	}
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text + strings.Repeat("·", width-(eighths+7)/8)
}

// Percent is a share of 0 to 1 in whole percents; only 1 is 100%.
func Percent(share float64) string {
	switch {
	case !(share > 0):
		return "0%"
	case share >= 1:
		return "100%"
	}
	return fmt.Sprintf("%d%%", int(share*100))
}

// FinePercent is Percent with a tenth below 1%.
func FinePercent(share float64) string {
	if share > 0 && share < 0.01 {
		return fmt.Sprintf("%.1f%%", share*100)
	}
	return Percent(share)
}

// Size is a number of bytes for people.
func Size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < len("KMGTPE")-1 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}

// Rate is how many of something there are, or happen in a second, in at most five letters.
func Rate(n float64) string {
	switch {
	case math.IsNaN(n) || n <= 0:
		return "0"
	case n < 9.95:
		return fmt.Sprintf("%.1f", n)
	case n < 9999.5:
		return fmt.Sprintf("%.0f", n)
	}
	prefix := 0
	for n /= 1000; n >= 999.95 && prefix < len("kMGTP")-1; n /= 1000 {
		prefix++
	}
	return fmt.Sprintf("%.*f%c", map[bool]int{true: 1, false: 0}[n < 99.95], n, "kMGTP"[prefix])
}

// Latency is a time that somebody waited, to about three digits.
func Latency(micros uint64) string {
	d := time.Duration(min(micros, math.MaxInt64/1000)) * time.Microsecond
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Span is a length of time of seconds to days, by its two largest units.
func Span(d time.Duration) string {
	seconds := int64(max(d, 0).Round(time.Second) / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	case seconds < 86400:
		return fmt.Sprintf("%dh%02dm", seconds/3600, seconds/60%60)
	}
	return fmt.Sprintf("%dd%02dh", seconds/86400, seconds/3600%24)
}
