package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// shownAfterEnd is how long operations that have ended are shown, if there is room.
const shownAfterEnd = 10 * time.Minute

// operationSection has those that go on, and those that ended a while ago.
func operationSection(s *Snapshot, o *Options) (section, bool) {
	v := s.Operations.Value
	if v == nil {
		if s.Cluster.Value == nil || s.Operations.Error == "" {
			return section{}, false
		}
		return section{head: parts(o.Width, " ", say(faint, "OPERATIONS"), unknown(s.Operations.Error))}, true
	}
	var operations []rest.Operation
	going := 0
	for i := range v.Operations {
		if op := &v.Operations[i]; op.Ended == nil {
			operations = slices.Insert(operations, going, withTotal(op, s.Members.Value))
			going++
		} else if s.Now.Sub(*op.Ended) < shownAfterEnd {
			operations = append(operations, *op)
		}
	}
	if len(operations) == 0 {
		return section{}, false
	}
	head, rows := table(o.Width, operationColumns(s, operations)...)
	for i := len(rows) - 1; i >= 0; i-- {
		message := say(warn, clean(operations[i].Message))
		switch room := o.Width - rows[i].width() - columnGap; {
		case operations[i].Message == "":
		case message.width() <= room:
			rows[i] = parts(o.Width, "  ", rows[i], message)
		case i < going: // a line of its own
			rows = slices.Insert(rows, i+1, append(line{{text: "          "}}, message...).cutTo(o.Width))
		}
	}
	return section{head: head, rows: rows, least: min(max(going, 1), 2), turns: 1, more: func(n int) line {
		return say(faint, fmt.Sprintf("… %s more", plural(n, "line")))
	}}, true
}

// withTotal is op with as many copies as it is to move in all. Of a join nobody counts them when it begins: what the node holds and
// what it still lacks are as many.
func withTotal(op *rest.Operation, m *rest.Members) rest.Operation {
	out := *op
	if op.Kind != "join" || op.Progress == nil || m == nil {
		return out
	}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Node == op.Node && op.Progress.CopiesLeft+n.Copies > op.CopiesTotal {
			out.CopiesTotal, out.BytesTotal = op.Progress.CopiesLeft+n.Copies, 0
		}
	}
	return out
}

var operationLooks = map[string]style{"running": accent, "paused": warn, "done": good, "failed": bad, "canceled": warn}

func operationColumns(s *Snapshot, operations []rest.Operation) [][]*column {
	id, what := &column{title: "OPERATION", right: true}, &column{title: "", most: 32}
	state, bar := &column{title: "STATE"}, &column{bars: []gauge{}}
	done, left := &column{title: "", right: true}, &column{title: "COPIES LEFT", right: true}
	size, speed, time := &column{title: "LEFT", right: true}, &column{title: "RATE", right: true}, &column{title: "ETA", right: true}
	add := func(c *column, look style, text string) { c.cells = append(c.cells, span{text, look}) }
	for i := range operations {
		op := &operations[i]
		look := operationLooks[op.State]
		add(id, strong, strconv.FormatUint(op.ID, 10))
		add(what, strong, clean(describe(op)))
		share := doneShare(op)
		bar.bars = append(bar.bars, gauge{share: share, style: look})
		add(done, normal, output.Percent(share))
		if op.Ended != nil || op.Progress == nil {
			text := clean(op.State)
			if op.Ended != nil {
				text += " " + output.Span(s.Now.Sub(*op.Ended)) + " ago"
			}
			add(state, look, text)
			for _, c := range []*column{left, size, speed, time} {
				add(c, faint, "")
			}
			continue
		}
		p := op.Progress
		add(state, look, clean(op.State))
		add(left, normal, fmt.Sprintf("%d of %d", p.CopiesLeft, op.CopiesTotal))
		add(size, normal, output.Size(p.BytesLeft))
		add(speed, normal, output.Size(p.BytesPerSecond)+"/s")
		text := ""
		if p.EtaMillis > 0 {
			text = eta(p.EtaMillis)
		}
		add(time, normal, text)
	}
	return [][]*column{
		{id, what, state, bar, done, left, size, speed, time},
		{id, what, state, bar, done, left, speed, time},
		{id, what, state, bar, done, left, time},
		{id, what, state, bar, done, left},
		{id, what, state, bar, done},
		{id, what, state, done},
		{what, done},
	}
}

// doneShare is how much of an operation is done, by bytes where they are known: copies differ.
func doneShare(op *rest.Operation) float64 {
	p := op.Progress
	switch {
	case op.State == "done":
		return 1
	case p == nil || op.CopiesTotal == 0:
		return 0
	case p.CopiesLeft > 0 && op.BytesTotal > 0:
		return 1 - min(1, float64(p.BytesLeft)/float64(op.BytesTotal))
	}
	return 1 - min(1, float64(p.CopiesLeft)/float64(op.CopiesTotal))
}

// describe is an operation in as few words as name it.
func describe(op *rest.Operation) string {
	switch op.Kind {
	case "replace":
		return "replace " + op.Node + " → " + op.By
	case "set_weight":
		return fmt.Sprintf("weight %s %d", op.Node, op.Weight)
	case "set_zone":
		switch {
		case op.None:
			return "zone " + op.Node + " none"
		case op.Zone == "":
			return "zone " + op.Node + " default"
		}
		return "zone " + op.Node + " " + op.Zone
	case "set_replication":
		return fmt.Sprintf("replicas %d", op.Replicas)
	}
	return op.Kind + " " + op.Node
}

// moveSection has a row for every copy on its way.
func moveSection(s *Snapshot, o *Options) (section, bool) {
	r := s.Rebalance.Value
	if r == nil || len(r.Transfers) == 0 {
		return section{}, false
	}
	transfers := slices.Clone(r.Transfers)
	slices.SortStableFunc(transfers, func(a, b rest.Transfer) int {
		return cmp.Or(cmp.Compare(phaseRank(a.Phase), phaseRank(b.Phase)), cmp.Compare(a.Partition, b.Partition))
	})
	head, rows := table(o.Width, transferColumns(transfers, o)...)
	return section{head: head, rows: rows, least: 2, turns: 1, more: func(n int) line {
		return say(faint, fmt.Sprintf("… %d more on their way", n))
	}}, true
}

// phaseRank puts those that wait behind.
func phaseRank(phase string) int {
	if phase == "waits" {
		return 1
	}
	return 0
}

func transferColumns(transfers []rest.Transfer, o *Options) [][]*column {
	partition, way := &column{title: "MOVE", right: true}, &column{title: "FROM → TO", most: max(16, o.Width/4)}
	reason, phase := &column{title: "FOR"}, &column{title: "PHASE"}
	bar, done := &column{bars: []gauge{}}, &column{title: "", right: true}
	size, speed, time := &column{title: "SIZE", right: true}, &column{title: "RATE", right: true}, &column{title: "ETA", right: true}
	add := func(c *column, look style, text string) { c.cells = append(c.cells, span{text, look}) }
	for i := range transfers {
		t := &transfers[i]
		add(partition, strong, strconv.FormatUint(uint64(t.Partition), 10))
		add(way, normal, clean(t.From)+" → "+clean(t.To))
		add(reason, normal, clean(t.Reason))
		look := accent
		if phaseRank(t.Phase) > 0 {
			look = faint
		}
		add(phase, look, clean(t.Phase))
		share, percent, total, left := 0.0, "", "", ""
		if t.BytesTotal > 0 {
			share = min(1, float64(t.BytesDone)/float64(t.BytesTotal))
			percent, total = output.Percent(share), output.Size(t.BytesTotal)
			if rest := t.BytesTotal - min(t.BytesTotal, t.BytesDone); rest > 0 && t.BytesPerSecond > 0 {
				left = eta(rest * 1000 / t.BytesPerSecond)
			}
		}
		bar.bars = append(bar.bars, gauge{share: share, style: look})
		add(done, normal, percent)
		add(size, normal, total)
		add(speed, normal, output.Size(t.BytesPerSecond)+"/s")
		add(time, normal, left)
	}
	return [][]*column{
		{partition, way, reason, phase, bar, done, size, speed, time},
		{partition, way, reason, phase, bar, done, size, speed},
		{partition, way, reason, phase, bar, done, speed},
		{partition, way, reason, phase, bar, done},
		{partition, way, bar, done},
		{partition, way, done},
		{partition, done},
	}
}

var eventLooks = map[string]style{
	"node_down": bad, "failover": warn, "recovered": warn, "node_removed": warn, "node_replaced": warn, "lost": warn,
	"node_up": good, "node_joined": good, "formed": good, "operation": accent, "rebalance": accent, "settings": accent,
}

// eventSection has what happened, the newest first.
func eventSection(s *Snapshot, o *Options) (section, bool) {
	head := parts(o.Width, "   ", say(faint, "EVENTS"))
	if s.EventsError != "" {
		head = parts(o.Width, "   ", say(faint, "EVENTS"), unknown(s.EventsError))
	}
	rows := make([]line, 0, len(s.Events))
	at := func(t time.Time) string {
		if s.Now.Sub(t) >= 24*time.Hour {
			return t.In(o.Location).Format("Jan _2  ")
		}
		return t.In(o.Location).Format("15:04:05")
	}
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := &s.Events[i]
		rows = append(rows, line{{at(e.Time) + "  ", faint}, {e.text(at), eventLooks[e.Type]}}.cutTo(o.Width))
	}
	return section{head: head, rows: rows, least: 2, turns: 1}, len(rows) > 0 || s.EventsError != ""
}
