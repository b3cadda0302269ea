package top

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kringdb/kring/cmd/internal/output"
)

// Plain is s as lines for a log or a pipe: every one says by its first word what it is about, and nothing is drawn. Events are told
// that are above after.
func Plain(s *Snapshot, after uint64) string {
	var b strings.Builder
	add := func(format string, args ...any) {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
	at := s.Now.UTC().Format(time.RFC3339)
	for i := range s.Gateways {
		if g := &s.Gateways[i]; g.Error != "" {
			add("gateway %s away for %s: %s", clean(g.Address), output.Span(s.Now.Sub(g.Since)), clean(g.Error))
		}
	}
	c := s.Cluster.Value
	switch {
	case c == nil:
		add("cluster %s not known: no gateway answers", at)
		return b.String()
	case s.away():
		add("cluster %s no gateway answers, as of %s ago: %s", at, output.Span(s.Now.Sub(s.Cluster.At)), clean(c.Summary()))
		return b.String()
	}
	add("cluster %s %s", at, clean(c.Summary()))
	if m := s.Members.Value; m != nil {
		for i := range m.Nodes {
			n := &m.Nodes[i]
			text := fmt.Sprintf("node %s %s weight %d copies %s leads %d", clean(n.Node), stateOf(n), n.Weight, copiesText(n), n.Primaries)
			if n.Zone != "" {
				text += " zone " + clean(n.Zone)
			}
			if n.Report != nil && n.Report.Load != nil {
				l := n.Report.Load
				text += fmt.Sprintf(" disk %s reads/s %s writes/s %s", output.Size(l.BytesOnDisk), output.Rate(l.ReadsPerSecond),
					output.Rate(l.WritesPerSecond))
			}
			add("%s", text)
		}
		if copies, leads := balance(s); copies > 0 {
			add("balance copies %.2f leads %.2f", copies, leads)
		}
	}
	if r := s.Rebalance.Value; r == nil || s.Rebalance.Error != "" {
		add("moves not known: %s", clean(s.Rebalance.Error))
	} else {
		add("clients req/s %s p50 %s p99 %s", output.Rate(r.Clients.RequestsPerSecond), output.Latency(r.Clients.P50Micros),
			output.Latency(r.Clients.P99Micros))
		left := max(r.MovesLeft, len(r.Transfers))
		add("moves %d left %d now %s left %s/s%s%s", left, len(r.Transfers), output.Size(r.BytesLeft),
			output.Size(r.BytesPerSecond), plainGuard(s), plainETA(r.EtaMillis))
	}
	if v := s.Operations.Value; v != nil && s.Operations.Error == "" {
		for i := range v.Operations {
			op := withTotal(&v.Operations[i], s.Members.Value)
			if p := op.Progress; op.Ended == nil && p != nil {
				text := fmt.Sprintf("operation %d %s %s %s %d of %d copies left%s", op.ID, strings.ReplaceAll(clean(describe(&op)), "→", "by"),
					clean(op.State), output.Percent(doneShare(&op)), p.CopiesLeft, op.CopiesTotal, plainETA(p.EtaMillis))
				if op.Message != "" {
					text += " " + clean(op.Message)
				}
				add("%s", text)
			}
		}
	}
	for i := range s.Events {
		if e := &s.Events[i]; e.ID > after {
			add("event %s %s", e.Time.UTC().Format(time.RFC3339), e.text(func(t time.Time) string { return t.UTC().Format(time.RFC3339) }))
		}
	}
	return b.String()
}

func plainGuard(s *Snapshot) string {
	r := s.Rebalance.Value
	text := ""
	if r.Settings.Paused {
		text = " paused"
	}
	if r.Settings.Guard.Off {
		return text + " guard off"
	}
	return text + " guard " + output.Percent(r.GuardShare)
}

func plainETA(millis uint64) string {
	if millis == 0 {
		return ""
	}
	return " eta " + eta(millis)
}

// Print writes a block of lines every interval, count of them or until ctx ends where that is 0, with an empty line between. It
// fails if no gateway answers for the last one.
func Print(ctx context.Context, w *Watcher, out io.Writer, interval time.Duration, count int) error {
	select {
	case <-w.Ready():
	case <-ctx.Done():
		return nil
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	told := uint64(0)
	for i := 0; ; i++ {
		s := w.Snapshot()
		text := Plain(s, told)
		if i == 0 { // what happened before is no news
			text = Plain(s, ^uint64(0))
		} else {
			text = "\n" + text
		}
		told = s.newestEvent()
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
		if count > 0 && i+1 >= count {
			return s.unanswered()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *Snapshot) newestEvent() uint64 {
	newest := uint64(0)
	for i := range s.Events {
		newest = max(newest, s.Events[i].ID)
	}
	return newest
}

// unanswered is an error if no gateway serves.
func (s *Snapshot) unanswered() error {
	if !s.away() {
		return nil
	}
	return fmt.Errorf("no gateway answers: %s: %s", s.Gateways[s.Asked].Address, s.Gateways[s.Asked].Error)
}
