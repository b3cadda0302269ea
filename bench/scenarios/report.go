package scenarios

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/bench/report"
)

// Report is what a scenario showed.
type Report struct {
	Format   int           `json:"format"` // bench.ResultFormat
	Scenario *Scenario     `json:"scenario"`
	Result   *bench.Result `json:"result"`
	Steps    []Step        `json:"scenario_steps"`
	Moves    []report.Move `json:"moves"`
	// Writes were acknowledged, to Keys different keys; of those Lost are missing, older than acknowledged, wrong or unreadable.
	Writes       uint64           `json:"acknowledged_writes"`
	Keys         int              `json:"keys_written"`
	Lost         uint64           `json:"lost"`
	LostFindings []string         `json:"lost_findings,omitempty"`
	Verdicts     []faults.Verdict `json:"verdicts"` // on the sampled keys
	WorstP99     float64          `json:"worst_p99_us"`
	WorstAt      float64          `json:"worst_p99_at_seconds"`
	// Missing is what was not in its place in the end; empty: all was.
	Missing string `json:"missing,omitempty"`
}

// Step is one event, or several at a time. Its window ends when the next begins, the last one's when all is checked. Times are seconds;
// those that are null did not come within the window.
type Step struct {
	At     float64  `json:"at_seconds"` // since the load began
	Took   float64  `json:"took_seconds"`
	Do     string   `json:"do"`
	Errors []string `json:"errors,omitempty"`
	// Noticed is when the cluster said that it is not as it should be, or that something moves; null also if it was not when the
	// step began.
	Noticed *float64 `json:"noticed_after_seconds"`
	// Writable is when every sampled key had a write acknowledged that was sent after the step began; Gap is the longest time until then
	// in which one had none.
	Writable *float64 `json:"writable_after_seconds"`
	Gap      float64  `json:"longest_gap_seconds"`
	// Replicated is when every partition had all its copies in their places.
	Replicated *float64 `json:"replicated_after_seconds"`
	// CopiesMoved are in-sync copies at nodes that had none before, not even before they were ended; one that fell
	// behind and out of sync counts once it is back. CopiesLeast is as many as the numbers of copies of the nodes needed. Null: not
	// known.
	CopiesMoved *int `json:"copies_moved"`
	CopiesLeast *int `json:"copies_least"`
	// BytesMoved is what nodes took in to bring copies up to date, of those that were away too; BytesLeast is CopiesLeast times the mean
	// size of a copy as loaded.
	BytesMoved uint64  `json:"bytes_moved"`
	BytesLeast uint64  `json:"bytes_least"`
	WorstP99   float64 `json:"worst_p99_us"` // of a second
	Failed     uint64  `json:"failed"`       // requests
}

func (r *run) report(result *bench.Result, after map[uint32][]string, missing string) *Report {
	p := &Report{
		Format: bench.ResultFormat, Scenario: r.Scenario, Result: result, Moves: r.watch.moves, Writes: r.acked.writes.Load(),
		Keys: len(r.acked.versions), Verdicts: r.sampled.Verdicts(), Missing: missing,
	}
	end := r.clock.Now()
	for _, s := range result.Seconds {
		if s.Operations > 0 && s.P99 > p.WorstP99 {
			p.WorstP99, p.WorstAt = s.P99, s.At
		}
	}
	raw := make([]map[uint32][]string, len(r.steps)) // as the cluster told, of those that run
	for i, s := range r.steps {
		raw[i] = maps.Clone(s.before)
	}
	away := map[string]int{} // nodes that do not run, and the step that ended them
	for i, s := range r.steps {
		r.addAway(s, away)
		until, copies := end, after
		if i+1 < len(r.steps) {
			until, copies = r.steps[i+1].begun, raw[i+1]
		}
		p.Steps = append(p.Steps, r.step(s, until, copies, result))
		for _, e := range s.events {
			switch e.Verb {
			case Kill, Stop, Pause:
				away[e.Target] = i
			case Start, Resume:
				delete(away, e.Target)
			}
		}
	}
	for _, s := range p.Steps {
		for label, after := range map[string]*float64{"noticed: ": s.Noticed, "all in its place after: ": s.Replicated} {
			if after != nil && s.At+*after <= result.Elapsed {
				result.Events = append(result.Events, bench.Event{At: s.At + *after, Label: label + s.Do})
			}
		}
	}
	slices.SortStableFunc(result.Events, func(a, b bench.Event) int {
		return int(1e6*a.At) - int(1e6*b.At)
	})
	return p
}

// addAway counts what nodes hold that do not run: the cluster goes on without them, and yet has the copies once they are back.
func (r *run) addAway(s *step, away map[string]int) {
	if s.before == nil {
		return
	}
	for node, ended := range away {
		for partition, nodes := range r.steps[ended].before {
			if slices.Contains(nodes, node) && !slices.Contains(s.before[partition], node) {
				s.before[partition] = append(slices.Clone(s.before[partition]), node)
			}
		}
	}
}

func (r *run) step(s *step, until time.Duration, after map[uint32][]string, result *bench.Result) Step {
	t := Step{
		At: s.begun.Seconds(), Took: (s.done - s.begun).Seconds(), Do: s.String(), Errors: s.errs, Gap: s.gaps.Longest.Seconds(),
		BytesMoved: r.watch.receivedAt(until) - r.watch.receivedAt(s.begun),
	}
	since := func(at time.Duration) *float64 {
		v := (at - s.begun).Seconds()
		return &v
	}
	if at, ok := r.watch.noticed(s.begun, until); ok {
		t.Noticed = since(at)
	}
	if s.gaps.First > 0 {
		t.Writable = since(s.begun + s.gaps.First)
	}
	if look, ok := r.watch.settled(s.done, until); ok {
		t.Replicated = since(look.at)
	}
	if s.before != nil && after != nil {
		moved, least := changes(s.before, after)
		t.CopiesMoved, t.CopiesLeast = &moved, &least
		if n := len(s.before); n > 0 {
			t.BytesLeast = uint64(least) * r.loaded.Bytes / uint64(n)
		}
	}
	for _, second := range result.Seconds {
		if second.At <= t.At || second.At-second.Length > until.Seconds() {
			continue
		}
		if second.Operations > 0 {
			t.WorstP99 = max(t.WorstP99, second.P99)
		}
		for _, n := range second.Errors {
			t.Failed += n
		}
	}
	return t
}

// changes counts the copies at nodes that had none of that partition before, and the fewest that any way to the same number of copies
// for each node takes.
func changes(before, after map[uint32][]string) (moved, least int) {
	counts := map[string]int{}
	for partition, nodes := range after {
		for _, n := range nodes {
			counts[n]++
			if !slices.Contains(before[partition], n) {
				moved++
			}
		}
	}
	for _, nodes := range before {
		for _, n := range nodes {
			counts[n]--
		}
	}
	for _, n := range counts {
		least += max(0, n)
	}
	return moved, least
}

// Err is what must not be, whatever the speed.
func (p *Report) Err() error {
	var wrong []string
	if p.Lost > 0 {
		wrong = append(wrong, fmt.Sprintf("%d acknowledged writes are lost, the first: %s", p.Lost, p.LostFindings[0]))
	}
	for _, v := range p.Verdicts {
		if v.Violations > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %d violations, the first: %s", v.Check, v.Violations, v.Findings[0]))
		}
	}
	for _, s := range p.Steps {
		wrong = append(wrong, s.Errors...)
	}
	if p.Missing != "" {
		wrong = append(wrong, "not everything is in its place in the end: "+p.Missing)
	}
	if err := p.Result.Err(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("scenario %s: %s", p.Scenario.Name, strings.Join(wrong, "; "))
}

// linearizable is the verdict on the sampled keys in a few words, and whether it is bad.
func (p *Report) linearizable() (text string, bad bool) {
	var checked, violations uint64
	for _, v := range p.Verdicts {
		violations += v.Violations
		if strings.Contains(v.Check, "linearizable") {
			checked += v.Checked
		}
	}
	switch {
	case violations > 0:
		return fmt.Sprintf("VIOLATED %d times", violations), true
	case checked == 0:
		return "nothing was checked", true
	}
	return fmt.Sprintf("yes, %d histories", checked), false
}

var stepHeader = []string{
	"what", "at", "noticed", "writable again", "longest gap", "all in place", "copies moved (least)", "bytes moved (least)", "worst p99", "failed",
}

// latency writes microseconds.
func latency(us float64) string {
	if us < 1e6 {
		return fmt.Sprintf("%.1f ms", us/1e3)
	}
	return fmt.Sprintf("%.2f s", us/1e6)
}

func after(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f s", *v)
}

func (s Step) row() []string {
	copies := "not known"
	if s.CopiesMoved != nil {
		copies = fmt.Sprintf("%d (%d)", *s.CopiesMoved, *s.CopiesLeast)
	}
	const mib = 1 << 20
	return []string{
		s.Do, fmt.Sprintf("%.1f s", s.At), after(s.Noticed), after(s.Writable), fmt.Sprintf("%.2f s", s.Gap), after(s.Replicated), copies,
		fmt.Sprintf("%.1f MiB (%.1f)", float64(s.BytesMoved)/mib, float64(s.BytesLeast)/mib), latency(s.WorstP99), fmt.Sprint(s.Failed),
	}
}

// Text writes what the scenario showed beside its result.
func (p *Report) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\n", strings.Join(stepHeader, "\t"))
	for _, s := range p.Steps {
		fmt.Fprintf(t, "%s\n", strings.Join(s.row(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	verdict, _ := p.linearizable()
	fmt.Fprintf(w, "\nworst one-second p99 %s, at %.0f s; failed requests %d\nacknowledged writes %d, to %d keys; lost %d\nsampled keys linearizable: %s\n",
		latency(p.WorstP99), p.WorstAt, p.Result.Failed, p.Writes, p.Keys, p.Lost, verdict)
	for _, v := range p.Verdicts {
		fmt.Fprintf(w, "  %s: %d %s, %d violations\n", v.Check, v.Checked, v.Unit, v.Violations)
	}
	return nil
}

// WriteJSON writes the report, indented.
func (p *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// Page is the report as a page of plots.
func (p *Report) Page() report.Document {
	verdict, bad := p.linearizable()
	d := report.Document{
		Title: "Scenario " + p.Scenario.Name, Result: p.Result, Moves: p.Moves,
		Facts: []report.Fact{
			{Name: "Acknowledged writes lost", Value: fmt.Sprint(p.Lost), Note: fmt.Sprintf("of %d, to %d keys", p.Writes, p.Keys), Bad: p.Lost > 0},
			{Name: "Sampled keys linearizable", Value: verdict, Bad: bad},
			{Name: "Worst one-second p99", Value: latency(p.WorstP99), Note: fmt.Sprintf("at %.0f s", p.WorstAt)},
		},
		Tables: []report.Table{
			{Title: "What was done", Note: p.Scenario.About + " A step's window ends when the next begins. “-”: not within the window.", Header: stepHeader},
			{Title: "Checks of the sampled keys", Header: []string{"check", "checked", "violations"}},
		},
	}
	if p.Missing != "" {
		d.Facts = append(d.Facts, report.Fact{Name: "Not in its place in the end", Value: p.Missing, Bad: true})
	}
	for _, s := range p.Steps {
		d.Tables[0].Rows = append(d.Tables[0].Rows, s.row())
	}
	for _, v := range p.Verdicts {
		d.Tables[1].Rows = append(d.Tables[1].Rows, []string{v.Check, fmt.Sprintf("%d %s", v.Checked, v.Unit), fmt.Sprint(v.Violations)})
	}
	return d
}
