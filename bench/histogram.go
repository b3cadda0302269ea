package bench

import (
	"encoding/base64"
	"fmt"
	"math"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Histograms hold nanoseconds from 1 µs to five minutes with three digits; what is longer counts as five minutes.
const (
	histogramLowest  = int64(time.Microsecond)
	histogramHighest = int64(5 * time.Minute)
	histogramDigits  = 3
)

// histogram adds a clamp at the upper end and the summaries to HdrHistogram. Not for concurrent use.
type histogram struct{ *hdr.Histogram }

func newHistogram() histogram {
	return histogram{hdr.New(histogramLowest, histogramHighest, histogramDigits)}
}

func (h histogram) record(d time.Duration) {
	// A value in [0, highest] is always accepted.
	_ = h.RecordValue(min(max(int64(d), 0), histogramHighest))
}

// merge adds from's counts; both have the same layout, so nothing is dropped.
func (h histogram) merge(from histogram) { h.Merge(from.Histogram) }

// Summary is a histogram in figures; all times in microseconds.
type Summary struct {
	Count  uint64  `json:"count"`
	Mean   float64 `json:"mean_us"`
	StdDev float64 `json:"stddev_us"`
	Min    float64 `json:"min_us"`
	P50    float64 `json:"p50_us"`
	P90    float64 `json:"p90_us"`
	P95    float64 `json:"p95_us"`
	P99    float64 `json:"p99_us"`
	P999   float64 `json:"p999_us"`
	P9999  float64 `json:"p9999_us"`
	Max    float64 `json:"max_us"`
	// HDR is the whole histogram of nanoseconds, HdrHistogram V2 compressed, base64; mergeable by any HdrHistogram
	// library. Empty in summaries that do not carry it.
	HDR string `json:"hdr,omitempty"`
}

func micros(ns int64) float64 { return float64(ns) / 1e3 }

// summarize leaves HDR empty.
func (h histogram) summarize() Summary {
	if h.Histogram == nil || h.TotalCount() == 0 {
		return Summary{}
	}
	p := h.ValueAtPercentilesSlice([]float64{50, 90, 95, 99, 99.9, 99.99})
	return Summary{
		Count: uint64(h.TotalCount()), Mean: h.Mean() / 1e3, StdDev: h.StdDev() / 1e3, Min: micros(h.Min()), Max: micros(h.Max()),
		P50: micros(p[0]), P90: micros(p[1]), P95: micros(p[2]), P99: micros(p[3]), P999: micros(p[4]), P9999: micros(p[5]),
	}
}

// summarizeWhole fills HDR too.
func (h histogram) summarizeWhole() (Summary, error) {
	s := h.summarize()
	if s.Count == 0 {
		return s, nil
	}
	encoded, err := h.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return s, fmt.Errorf("encode histogram: %w", err)
	}
	// Encode gives base64 already; decoding it here would only prove that twice.
	s.HDR = string(encoded)
	return s, nil
}

// decodeSummary gives back the histogram that summarizeWhole wrote.
func decodeSummary(s Summary) (histogram, error) {
	if _, err := base64.StdEncoding.DecodeString(s.HDR); err != nil {
		return histogram{}, fmt.Errorf("decode histogram: %w", err)
	}
	h, err := hdr.Decode([]byte(s.HDR))
	if err != nil {
		return histogram{}, fmt.Errorf("decode histogram: %w", err)
	}
	return histogram{h}, nil
}

// Percentile is a point of the distribution: so many percent took at most so long.
type Percentile struct{ Percent, Micros float64 }

// percentileTicks is how many points there are to each halving of the distance to 100%.
const percentileTicks = 5

// Percentiles gives the distribution up to the last value, which stands at the percent of all but half of it, for plots; none if HDR is
// empty.
func (s Summary) Percentiles() ([]Percentile, error) {
	if s.HDR == "" || s.Count == 0 {
		return nil, nil
	}
	h, err := decodeSummary(s)
	if err != nil {
		return nil, err
	}
	last := 100 * (1 - 0.5/float64(s.Count))
	var all []Percentile
	for i := 0; ; i++ {
		percent := min(last, 100*(1-math.Pow(2, -float64(i)/percentileTicks)))
		all = append(all, Percentile{percent, micros(h.ValueAtPercentile(percent))})
		if percent == last {
			return all, nil
		}
	}
}
