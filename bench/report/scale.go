package report

import (
	"fmt"
	"math"
	"strconv"
)

// scale maps values to positions between 0 and 1, and says where its ticks are.
type scale struct {
	least, most float64
	log         bool
	step        float64 // of a linear one
}

// linear is a scale from 0 to at least most, in steps of 1, 2 or 5 times a power of ten.
func linear(most float64) scale { return linearIn(1, most) }

// linearBytes is one whose steps are such numbers of KiB, MiB or GiB.
func linearBytes(most float64) scale {
	unit := 1.
	for most >= 1024*unit && unit < 1<<40 {
		unit *= 1024
	}
	return linearIn(unit, most)
}

func linearIn(unit, most float64) scale {
	if !(most > 0) || math.IsInf(most, 0) {
		return scale{most: 1, step: 1}
	}
	step := niceStep(most/unit) * unit
	return scale{most: math.Ceil(most/step*(1-1e-9)) * step, step: step}
}

// timeSteps are what people count seconds in.
var timeSteps = []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200}

// timeTicks is how many ticks a time axis has at most.
const timeTicks = 10

// ofTime is a scale of seconds from 0 to just most.
func ofTime(most float64) scale {
	most = max(most, 1)
	for _, step := range timeSteps {
		if most/step <= timeTicks {
			return scale{most: most, step: step}
		}
	}
	return scale{most: most, step: niceStep(most)}
}

// logarithmic is a scale of whole decades about positive values.
func logarithmic(least, most float64) scale {
	if !(least > 0) || !(most >= least) {
		return scale{least: 1, most: 10, log: true}
	}
	s := scale{least: math.Pow(10, math.Floor(math.Log10(least))), most: math.Pow(10, math.Ceil(math.Log10(most)-1e-9)), log: true}
	if s.most <= s.least {
		s.most = 10 * s.least
	}
	return s
}

// between is a scale that reaches a little over values from least to most; they are above 0 if it is logarithmic.
func between(least, most float64, log bool) scale {
	const over = 0.03
	if log {
		beyond := math.Pow(most/least, over)
		if most == least {
			beyond = 2
		}
		return scale{least: least / beyond, most: most * beyond, log: true}
	}
	beyond := (most - least) * over
	if most == least {
		beyond = 1
	}
	return scale{least: least - beyond, most: most + beyond, step: niceStep(most - least + 2*beyond)}
}

// at is false for what the scale cannot show.
func (s scale) at(v float64) (float64, bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) || s.log && v <= 0 {
		return 0, false
	}
	p := (v - s.least) / (s.most - s.least)
	if s.log {
		p = math.Log(v/s.least) / math.Log(s.most/s.least)
	}
	return min(1, max(0, p)), true
}

// tick is a line of the grid; one without text is a minor one.
type tick struct {
	value float64
	text  string
}

const tickCount = 5

// niceStep is 1, 2 or 5 times a power of ten, so that about tickCount of it make span.
func niceStep(span float64) float64 {
	raw := span / tickCount
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, n := range []float64{1, 2, 5} {
		if raw <= n*power*(1+1e-9) {
			return n * power
		}
	}
	return 10 * power
}

func (s scale) ticks(format func(float64) string) (all []tick) {
	if !s.log {
		for i := 0; ; i++ {
			v := s.least + float64(i)*s.step
			if v > s.most*(1+1e-9) {
				return all
			}
			all = append(all, tick{v, format(v)})
		}
	}
	for decade := s.least; decade <= s.most*(1+1e-9); decade *= 10 {
		all = append(all, tick{decade, format(decade)})
		for _, n := range []float64{2, 5} {
			if v := n * decade; v < s.most {
				all = append(all, tick{value: v})
			}
		}
	}
	return all
}

// The formats of axes and tables.

func plain(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// count writes 12,345 and 1.5 M.
func count(v float64) string {
	switch {
	case v >= 1e7:
		return trim(fmt.Sprintf("%.1f", v/1e6)) + " M"
	case v < 10 && v != math.Trunc(v):
		return plain(math.Round(v*100) / 100)
	}
	text := strconv.FormatInt(int64(math.Round(v)), 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// micros writes a time given in microseconds.
func micros(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 1e3:
		return digits(v) + " µs"
	case v < 1e6:
		return digits(v/1e3) + " ms"
	}
	return digits(v/1e6) + " s"
}

func seconds(v float64) string { return digits(v) + " s" }

// size writes bytes.
func size(v float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 {
			return digits(v) + " " + unit
		}
		v /= 1024
	}
	return digits(v) + " TiB"
}

// digits writes three of them, or all before the point.
func digits(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	}
	return trim(strconv.FormatFloat(v, 'f', 2, 64))
}

// trim removes noughts behind a point.
func trim(text string) string {
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	return text
}
