package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Fault is one that was done. Times are since the start of the run.
type Fault struct {
	Planned
	Targets     []string      `json:"targets"`
	Begin       time.Duration `json:"begin_ns"`
	Begun       time.Duration `json:"begun_ns"` // all of it is in place
	End         time.Duration `json:"end_ns"`   // everything runs and is connected again
	Whole       time.Duration `json:"whole_ns"` // every partition has all its copies again
	Effective   bool          `json:"effective"`
	Evidence    []string      `json:"evidence,omitempty"`
	Detected    time.Duration `json:"detected_ns,omitempty"` // from Begin until the cluster said that it is not whole
	WasDetected bool          `json:"was_detected"`
	// Written is from Begun until each hot key had a write acknowledged that was sent after Begun. 0: never.
	Written      time.Duration `json:"written_ns,omitempty"`
	Gaps         GapReport     `json:"gaps"`         // from Begin until Whole and Written
	Acknowledged uint64        `json:"acknowledged"` // writes, from Begin until then
	// FailedRequests are those sent in that time, reads too, that got no answer but an error; Unknown are those of them whose
	// outcome is unknown. FirstFailed is the text of the first error.
	FailedRequests uint64   `json:"failed_requests"`
	Unknown        uint64   `json:"unknown"`
	FirstFailed    string   `json:"first_failed,omitempty"`
	Errors         []string `json:"errors,omitempty"`
}

func (f Fault) String() string {
	effect := "NO EFFECT"
	if f.Effective {
		effect = "effective"
	}
	text := fmt.Sprintf("#%d %s of %s: %s; written again after %v, longest gap %v, whole %v after its end",
		f.Number, f.Kind, strings.Join(f.Targets, ", "), effect, ms(f.Written), ms(f.Gaps.Longest), ms(f.Whole-f.End))
	for _, e := range f.Errors {
		text += "\n\tERROR " + e
	}
	return text
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// Report is all of a run.
type Report struct {
	Seed              uint64        `json:"seed"`
	Began             time.Time     `json:"began"`
	Took              time.Duration `json:"took_ns"`
	LeastEffective    int           `json:"least_effective"`
	LeastAcknowledged uint64        `json:"least_acknowledged"`
	Effective         int           `json:"effective"`
	EffectiveKinds    int           `json:"effective_kinds"`
	Faults            []Fault       `json:"faults"`
	LeftOut           []string      `json:"left_out,omitempty"` // kinds, and why
	Counts            Counts        `json:"counts"`
	Gaps              GapReport     `json:"gaps"` // of the whole run
	Verdicts          []Verdict     `json:"verdicts"`
	Violations        uint64        `json:"violations"`
	Void              []string      `json:"void,omitempty"` // why it proves nothing
}

// Err is nil for a run that found nothing wrong, void or not.
func (r *Report) Err() error {
	if r.Violations == 0 {
		return nil
	}
	var failed []string
	for _, v := range r.Verdicts {
		if v.Violations > 0 {
			failed = append(failed, fmt.Sprintf("%s: %d of %d, the first: %s", v.Check, v.Violations, v.Checked, v.Findings[0]))
		}
	}
	return fmt.Errorf("seed %d: %d violations: %s", r.Seed, r.Violations, strings.Join(failed, "; "))
}

// finish compares the copies and sums up.
func (r *runner) finish(ctx context.Context) {
	p := r.report
	copies := newFindings("copies are equal to the byte", "partitions")
	unequal, equal, err := r.settleCopies(ctx)
	copies.checked(uint64(equal + len(unequal)))
	if err != nil {
		copies.violation("they could not be compared: %v", err)
	}
	for _, u := range unequal {
		copies.violation("%s", u)
	}
	p.Took = r.clock.Now()
	p.Counts = r.load.Counts()
	p.Verdicts = append(r.load.Verdicts(), copies.result(), r.faults.result())
	kinds := make(map[Kind]bool)
	for i := range p.Faults {
		if p.Faults[i].Effective {
			p.Effective++
			kinds[p.Faults[i].Kind] = true
		}
	}
	p.EffectiveKinds = len(kinds)
	for _, v := range p.Verdicts {
		p.Violations += v.Violations
		if v.Checked == 0 && !v.MayBeEmpty {
			p.Void = append(p.Void, "nothing was checked: "+v.Check)
		}
	}
	if p.Effective < p.LeastEffective {
		p.Void = append(p.Void, fmt.Sprintf("%d faults were effective, at least %d were to be", p.Effective, p.LeastEffective))
	}
	if n := p.Counts.Acknowledged(); n < p.LeastAcknowledged {
		p.Void = append(p.Void, fmt.Sprintf("%d writes were acknowledged, at least %d were to be", n, p.LeastAcknowledged))
	}
}

// settleCopies compares the copies until they are equal: backups apply the last writes a little later.
func (r *runner) settleCopies(ctx context.Context) (unequal []string, equal int, err error) {
	until := r.clock.Now() + r.config.RecoverWithin
	for {
		unequal, equal, err = r.config.Cluster.Unequal(ctx)
		if err == nil && len(unequal) == 0 || r.clock.Now() >= until || !pause(ctx, confirmPause) {
			return unequal, equal, err
		}
	}
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "seed %d, %s, %v\n", r.Seed, r.Began.UTC().Format(time.RFC3339), r.Took.Round(time.Second))
	fmt.Fprintf(t, "%d faults, %d effective, of %d kinds; %d writes acknowledged, %d of unknown outcome\n",
		len(r.Faults), r.Effective, r.EffectiveKinds, r.Counts.Acknowledged(), r.Counts.Unknown())
	for _, why := range r.LeftOut {
		fmt.Fprintf(t, "left out: %s\n", why)
	}
	r.faultsText(t)
	r.countsText(t)
	fmt.Fprintf(t, "\nlongest time without an acknowledged write: of any one hot key %v, of all %v\n\n",
		ms(r.Gaps.Longest), ms(r.Gaps.Overall))
	for _, v := range r.Verdicts {
		word := "ok"
		if v.Violations > 0 {
			word = fmt.Sprintf("VIOLATED %d times", v.Violations)
		}
		fmt.Fprintf(t, "%s\t%d %s\t%s\t%s\n", v.Check, v.Checked, v.Unit, word, v.Note)
	}
	for _, v := range r.Verdicts {
		for _, f := range v.Findings {
			fmt.Fprintf(t, "\n%s:\n  %s\n", v.Check, f)
		}
	}
	switch {
	case r.Violations > 0:
		fmt.Fprintf(t, "\nVIOLATED: %d findings\n", r.Violations)
	case len(r.Void) > 0:
		fmt.Fprintf(t, "\nVOID: %s\n", strings.Join(r.Void, "; "))
	default:
		fmt.Fprintln(t, "\nno violation")
	}
	return t.Flush()
}

func (r *Report) faultsText(w io.Writer) {
	fmt.Fprintln(w, "\n#\tbegan\tfault\tof\tlasted\teffect\tnoticed\twritten again\tlongest gap\twhole after end\tacked\tfailed\tof them unknown")
	for _, f := range r.Faults {
		effect, noticed := "none", "-"
		if f.Effective {
			effect = "yes"
		}
		if f.WasDetected {
			noticed = ms(f.Detected).String()
		}
		targets := strings.Join(f.Targets, " ")
		if len(f.Targets) > 4 {
			targets = fmt.Sprintf("%s … (%d)", strings.Join(f.Targets[:3], " "), len(f.Targets))
		}
		fmt.Fprintf(w, "%d\t%v\t%s\t%s\t%v\t%s\t%s\t%v\t%v\t%v\t%d\t%d\t%d\n", f.Number, ms(f.Begin), f.Kind, targets,
			ms(f.End-f.Begin), effect, noticed, ms(f.Written), ms(f.Gaps.Longest), ms(f.Whole-f.End), f.Acknowledged, f.FailedRequests, f.Unknown)
	}
	fmt.Fprintln(w, "\n#\tevidence")
	for _, f := range r.Faults {
		fmt.Fprintf(w, "%d\t%s\n", f.Number, strings.Join(append(slices.Clone(f.Evidence), f.Errors...), "; "))
	}
}

func (r *Report) countsText(w io.Writer) {
	fmt.Fprintln(w, "\noperation\tok\tfailed\tunknown")
	for _, kind := range slices.Sorted(maps.Keys(r.Counts.Operations)) {
		by := r.Counts.Operations[kind]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", kind, by[OK], by[Failed], by[Unknown])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Counts.Errors)) {
		fmt.Fprintf(w, "error %s\t%d\t\t\t%s\n", name, r.Counts.Errors[name], r.Counts.Samples[name])
	}
}

// Save writes the report into dir, as NAME.json and NAME.txt.
func (r *Report) Save(dir, name string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("directory for the report: %w", err)
	}
	document, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for ending, content := range map[string][]byte{".json": append(document, '\n'), ".txt": []byte(text.String())} {
		if err := os.WriteFile(filepath.Join(dir, name+ending), content, 0o600); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}
