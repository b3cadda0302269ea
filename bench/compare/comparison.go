package compare

import (
	"fmt"

	"github.com/kringdb/kring/bench/tables"
)

// Comparison is a ratio of two systems in the same step, taken round by round.
type Comparison struct {
	Title   string `json:"title"`
	Of      string `json:"of"`
	Against string `json:"against"`
	Step    string `json:"step"`
	Figure  Figure `json:"figure"`
	Goal    string `json:"goal"`
	// Ratio is Of's figure to Against's; null if there is none, and Refused says why.
	Ratio   *tables.Spread `json:"ratio"`
	Refused string         `json:"refused,omitempty"`
	Met     bool           `json:"met"` // by the median
	// Unequal is in what the guarantees of the two differ; null: they are equal.
	Unequal []string `json:"unequal_guarantees"`
}

// compare forms the ratios of all goals both of whose sides were measured.
func (r *Report) compare() error {
	for _, g := range goals {
		of, against := r.system(g.Of), r.system(g.Against)
		if of == nil || against == nil {
			continue
		}
		a, b := of.step(g.Step), against.step(g.Step)
		if a == nil || b == nil {
			continue
		}
		c := Comparison{Title: g.Title, Of: g.Of, Against: g.Against, Step: g.Step, Figure: g.Figure, Goal: g.Want()}
		differences, err := Differences(Side{g.Of, of.Guarantee}, Side{g.Against, against.Guarantee}, g.Access)
		if err != nil {
			c.Refused = err.Error()
			r.Comparisons = append(r.Comparisons, c)
			continue
		}
		c.Unequal = differences
		if c.Refused = unusable(a, b, g); c.Refused == "" {
			ratios, err := ratiosByRound(a, b, g.Figure)
			if err != nil {
				return fmt.Errorf("%s, %s against %s: %w", g.Title, g.Of, g.Against, err)
			}
			s := tables.SpreadOf(ratios)
			c.Ratio, c.Met = &s, g.Met(s.Median)
		}
		r.Comparisons = append(r.Comparisons, c)
	}
	return nil
}

// unusable says why a figure of the two steps must not be compared; "": it may.
func unusable(a, b *MeasuredStep, g Goal) string {
	for i, s := range []*MeasuredStep{a, b} {
		name := []string{g.Of, g.Against}[i]
		for _, f := range s.Figures {
			switch {
			case f.Failed > 0:
				return fmt.Sprintf("%d operations of %s failed in round %d", f.Failed, name, f.Round)
			case f.of(g.Figure) <= 0:
				return fmt.Sprintf("%s has no such figure in round %d", name, f.Round)
			case f.Unserved > 0:
				return fmt.Sprintf("%s did not hold the rate in round %d", name, f.Round)
			}
		}
	}
	return ""
}

// ratiosByRound divides what was measured in the same round.
func ratiosByRound(a, b *MeasuredStep, of Figure) ([]float64, error) {
	if len(a.Figures) != len(b.Figures) {
		return nil, fmt.Errorf("measured in %d rounds and in %d", len(a.Figures), len(b.Figures))
	}
	byRound := make(map[int]float64, len(b.Figures))
	for _, f := range b.Figures {
		byRound[f.Round] = f.of(of)
	}
	ratios := make([]float64, len(a.Figures))
	for i, f := range a.Figures {
		against, ok := byRound[f.Round]
		if !ok {
			return nil, fmt.Errorf("round %d is of one side only", f.Round)
		}
		ratios[i] = f.of(of) / against
	}
	return ratios, nil
}
