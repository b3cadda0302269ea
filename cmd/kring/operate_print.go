package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// call1 gives one call its time.
func call1[T any](ctx context.Context, timeout time.Duration, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return do(ctx)
}

// call2 is call1 for two results.
func call2[T, U any](ctx context.Context, timeout time.Duration, do func(context.Context) (T, U, error)) (T, U, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return do(ctx)
}

// printPlan says what an operation would do.
func printPlan(w io.Writer, r rest.OperationRequest, p *rest.Plan) error {
	text := operationText(&r) + ": " + copiesToMove(p.Copies, p.Bytes)
	if p.DurationMillis > 0 {
		text += fmt.Sprintf(", at least %s at the present limits", durationText(time.Duration(p.DurationMillis)*time.Millisecond))
	}
	if _, err := fmt.Fprintln(w, text); err != nil {
		return err
	}
	for _, note := range p.Notes {
		if _, err := fmt.Fprintln(w, "  "+output.Printable(note)); err != nil {
			return err
		}
	}
	reasons := map[string]int{}
	var order []string
	for _, m := range p.Moves {
		if reasons[m.Reason]++; reasons[m.Reason] == 1 {
			order = append(order, m.Reason)
		}
	}
	for i, reason := range order {
		order[i] = fmt.Sprintf("%s %d", reason, reasons[reason])
	}
	if len(order) > 1 {
		if _, err := fmt.Fprintln(w, "  moves by reason: "+strings.Join(order, ", ")); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printBalance(w, p.Nodes)
}

// printBalance shows nodes before and after.
func printBalance(w io.Writer, nodes []rest.Balance) error {
	rows := make([][]string, len(nodes))
	for i, n := range nodes {
		rows[i] = []string{
			n.Node, strconv.Itoa(n.CopiesBefore), strconv.Itoa(n.CopiesAfter), fmt.Sprintf("%.0f", n.Share),
			strconv.Itoa(n.PrimariesBefore), strconv.Itoa(n.PrimariesAfter),
		}
	}
	return output.Rows(w, []string{"NODE", "COPIES", "THEN", "SHARE", "LEADS", "THEN"}, rows)
}

// durationText is exact enough for people.
func durationText(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	}
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		return strings.TrimSuffix(text, "0s")
	}
	return text
}

// stateText is an operation's state with why.
func stateText(op *rest.Operation) string {
	text := op.State
	if op.Ended != nil && op.State == "done" {
		text += " after " + durationText(op.Ended.Sub(op.Started))
	}
	if op.Message != "" {
		text += ", " + op.Message
	}
	return output.Printable(text)
}

const (
	waitEvery   = 500 * time.Millisecond // between two looks at an operation
	tellBarEach = 5 * time.Second        // between two lines where the output is no terminal
	barWidth    = 30
)

// waitFor shows how far op is until it has ended, on standard error: as a bar on a terminal, else in lines now and then. Gateways and
// coordinators that are away for a while do not end it.
func (f *clientFlags) waitFor(ctx context.Context, cmd *cobra.Command, c *rest.Client, op *rest.Operation) (*rest.Operation, error) {
	b := bar{w: cmd.ErrOrStderr(), terminal: isTerminal(cmd.ErrOrStderr())}
	ticker := time.NewTicker(waitEvery)
	defer ticker.Stop()
	for id := op.ID; ; {
		now, err := call1(ctx, f.timeout, func(ctx context.Context) (*rest.Operation, error) { return c.Operation(ctx, id) })
		switch {
		case ctx.Err() != nil:
			b.end()
			return nil, fmt.Errorf("operation %d goes on by itself (kring operation cancel %d takes it back): %w", id, id, ctx.Err())
		case err == nil:
			op = now
			b.show(op, "")
		case rest.ExitCode(err) == exit.NotFound:
			b.end()
			return nil, err
		default:
			b.show(op, err.Error())
		}
		if op.Ended != nil {
			b.end()
			if op.State != "done" {
				return nil, fmt.Errorf("%s: %s", operationText(&op.OperationRequest), stateText(op))
			}
			return op, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// bar shows an operation's progress.
type bar struct {
	w        io.Writer
	terminal bool
	most     int    // copies that were left at most: plans change
	told     string // the last line
	at       time.Time
}

func (b *bar) show(op *rest.Operation, trouble string) {
	text := b.text(op, trouble)
	if b.terminal {
		// Anything that cannot be written to a terminal that is gone is missed by nobody.
		fmt.Fprintf(b.w, "\r\x1b[K%s", text)
		return
	}
	if text != b.told && (b.told == "" || time.Since(b.at) >= tellBarEach || op.Ended != nil) {
		fmt.Fprintln(b.w, text)
		b.told, b.at = text, time.Now()
	}
}

func (b *bar) end() {
	if b.terminal {
		fmt.Fprintln(b.w)
	}
}

// text is one line of at most 80 columns, unless there is trouble to tell.
func (b *bar) text(op *rest.Operation, trouble string) string {
	left := 0
	if op.Progress != nil {
		left = op.Progress.CopiesLeft
	}
	b.most = max(b.most, op.CopiesTotal, left)
	done := 1.0
	if b.most > 0 {
		done = float64(b.most-left) / float64(b.most)
	}
	if op.Ended == nil {
		done = min(done, 0.99) // the end is for the coordinators to say
	}
	parts := []string{fmt.Sprintf("%3.0f%%", done*100), fmt.Sprintf("%d of %d copies", b.most-left, b.most)}
	if op.Ended == nil && left == 0 && op.Message != "" {
		parts, done = nil, 0 // it waits for something before anything can be planned, so nothing is known
	}
	if p := op.Progress; p != nil && p.BytesPerSecond > 0 {
		parts = append(parts, bytesText(p.BytesPerSecond)+"/s")
		if p.EtaMillis > 0 {
			parts = append(parts, durationText(time.Duration(p.EtaMillis)*time.Millisecond)+" left")
		}
	}
	if op.State == "paused" || op.Ended != nil {
		parts = append(parts, op.State)
	}
	if trouble != "" {
		parts = append(parts, trouble)
	} else if op.Message != "" {
		parts = append(parts, op.Message)
	}
	text := operationText(&op.OperationRequest) + "  "
	if b.terminal {
		filled := int(done * barWidth)
		text += "[" + strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled) + "] "
	}
	return output.Printable(text + strings.Join(parts, ", "))
}
