package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// nodeSection has a row a node. Where not all have room, those that something is the matter with come first.
func nodeSection(s *Snapshot, o *Options) (section, bool) {
	m := s.Members.Value
	if m == nil {
		return section{head: parts(o.Width, " ", say(faint, "NODES  "), unknown(s.Members.Error))}, s.Cluster.Value != nil
	}
	to, from := transfersOf(s.Rebalance.Value)
	nodes := slices.Clone(m.Nodes)
	slices.SortFunc(nodes, func(a, b rest.Node) int {
		calm := func(n *rest.Node) int {
			if stateOf(n) == "up" && to[n.Node]+from[n.Node] == 0 {
				return 1
			}
			return 0
		}
		if len(nodes) > o.Height/2 { // perhaps not all have room
			if c := cmp.Compare(calm(&a), calm(&b)); c != 0 {
				return c
			}
		}
		return natural(a.Node, b.Node)
	})
	head, rows := table(o.Width, nodeColumns(s, nodes, o)...)
	return section{head: head, rows: rows, least: 3, turns: 2, more: func(n int) line {
		return say(faint, "… "+moreNodes(nodes[len(nodes)-n:]))
	}}, true
}

func moreNodes(nodes []rest.Node) string {
	up := 0
	for i := range nodes {
		if stateOf(&nodes[i]) == "up" {
			up++
		}
	}
	if up == len(nodes) {
		return fmt.Sprintf("%d more, up", len(nodes))
	}
	return fmt.Sprintf("%d more, %d of them up", len(nodes), up)
}

// natural orders n2 before n10.
func natural(a, b string) int {
	headA, numberA := splitNumber(a)
	headB, numberB := splitNumber(b)
	return cmp.Or(cmp.Compare(headA, headB), cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB))
}

func splitNumber(s string) (head, number string) {
	i := len(s)
	for i > 0 && '0' <= s[i-1] && s[i-1] <= '9' {
		i--
	}
	return s[:i], s[i:]
}

// stateOf is one word for how a node is, the most pressing first.
func stateOf(n *rest.Node) string {
	switch r := n.Report; {
	case n.State == "down":
		return n.State
	case r != nil && r.Leaving:
		return "leaving"
	case r != nil && r.Suspect:
		return "suspect"
	case n.State == "draining" && n.Copies == 0 && (r == nil || r.JoiningCopies == 0):
		return "drained"
	}
	return n.State
}

var stateLooks = map[string]style{
	"up": good, "down": bad, "suspect": bad, "leaving": warn, "draining": warn, "drained": accent,
}

// nodeColumns are the columns, for wide screens first.
func nodeColumns(s *Snapshot, nodes []rest.Node, o *Options) [][]*column {
	node := &column{title: "NODE", most: max(8, o.Width/5)}
	state := &column{title: "STATE"}
	zone := &column{title: "ZONE", most: max(6, o.Width/8)}
	weight := &column{title: "WEIGHT", right: true}
	copies, copyBar := &column{title: "COPIES", right: true}, &column{bars: []gauge{}}
	leads, leadBar := &column{title: "LEADS", right: true}, &column{bars: []gauge{}}
	moves := &column{title: "MOVES", right: true}
	disk := &column{title: "DISK", right: true}
	reads, writes := &column{title: "READS/S", right: true}, &column{title: "WRITES/S", right: true}
	requests := &column{title: "REQ/S", right: true}
	to, from := transfersOf(s.Rebalance.Value)
	bars := newNodeBars(s, nodes)
	add := func(c *column, look style, text string) { c.cells = append(c.cells, span{text, look}) }
	zones := false
	for i := range nodes {
		n := &nodes[i]
		add(node, strong, clean(n.Node))
		add(state, stateLooks[stateOf(n)], clean(stateOf(n)))
		add(zone, normal, clean(n.Zone))
		zones = zones || n.Zone != ""
		add(weight, normal, strconv.FormatUint(uint64(n.Weight), 10))
		add(copies, normal, copiesText(n))
		add(leads, normal, strconv.Itoa(n.Primaries))
		copyBar.bars, leadBar.bars = append(copyBar.bars, bars.copies(n)), append(leadBar.bars, bars.leads(n))
		add(moves, accent, movesText(to[n.Node], from[n.Node]))
		if n.Report == nil || n.Report.Load == nil || n.State == "down" {
			for _, c := range []*column{disk, reads, writes, requests} {
				add(c, faint, "")
			}
			continue
		}
		l := n.Report.Load
		add(disk, normal, output.Size(l.BytesOnDisk))
		add(reads, normal, output.Rate(l.ReadsPerSecond))
		add(writes, normal, output.Rate(l.WritesPerSecond))
		add(requests, normal, output.Rate(l.ReadsPerSecond+l.WritesPerSecond))
	}
	sets := [][]*column{
		{node, state, zone, weight, copies, copyBar, leads, leadBar, moves, disk, reads, writes},
		{node, state, zone, weight, copies, copyBar, leads, moves, disk, reads, writes},
		{node, state, zone, weight, copies, copyBar, leads, moves, disk, requests},
		{node, state, zone, copies, copyBar, leads, moves, disk, requests},
		{node, state, zone, copies, copyBar, leads, moves, requests},
		{node, state, copies, copyBar, leads, moves, requests},
		{node, state, copies, copyBar, leads, requests},
		{node, state, copies, leads},
		{node, state, copies},
		{node, state},
	}
	for i := range sets {
		sets[i] = slices.DeleteFunc(sets[i], func(c *column) bool {
			return c == zone && !zones || c == moves && len(to)+len(from) == 0
		})
	}
	return sets
}

// copiesText is how many copies a node has in sync, and how many more catch up.
func copiesText(n *rest.Node) string {
	if n.Report != nil && n.Report.JoiningCopies > 0 {
		return fmt.Sprintf("%d+%d", n.Copies, n.Report.JoiningCopies)
	}
	return strconv.Itoa(n.Copies)
}

func movesText(to, from int) string {
	switch {
	case to > 0 && from > 0:
		return fmt.Sprintf("+%d −%d", to, from)
	case to > 0:
		return fmt.Sprintf("+%d", to)
	case from > 0:
		return fmt.Sprintf("−%d", from)
	}
	return ""
}

// nodeBars draws every node's copies and leads to one scale, whose end is the most that a node has or is to have.
type nodeBars struct {
	share                map[string]float64 // of copies
	perWeight            float64            // leads
	copyScale, leadScale float64
}

func newNodeBars(s *Snapshot, nodes []rest.Node) *nodeBars {
	b := &nodeBars{share: map[string]float64{}}
	if r := s.Rebalance.Value; r != nil {
		for i := range r.Nodes {
			b.share[r.Nodes[i].Node] = r.Nodes[i].Share
		}
	}
	leads, weight := 0.0, 0.0
	for i := range nodes {
		leads += float64(nodes[i].Primaries)
		if nodes[i].State == "up" {
			weight += float64(nodes[i].Weight)
		}
	}
	if weight > 0 {
		b.perWeight = leads / weight
	}
	for i := range nodes {
		n := &nodes[i]
		b.copyScale = max(b.copyScale, float64(n.Copies), b.share[n.Node])
		b.leadScale = max(b.leadScale, float64(n.Primaries), b.leadShare(n))
	}
	return b
}

func (b *nodeBars) leadShare(n *rest.Node) float64 {
	if n.State != "up" {
		return 0
	}
	return b.perWeight * float64(n.Weight)
}

func (b *nodeBars) copies(n *rest.Node) gauge {
	return scaled(float64(n.Copies), b.share[n.Node], b.copyScale)
}
func (b *nodeBars) leads(n *rest.Node) gauge {
	return scaled(float64(n.Primaries), b.leadShare(n), b.leadScale)
}

// scaled leaves a fifth above the scale's end, so that the mark of a full node shows too.
func scaled(amount, share, scale float64) gauge {
	if scale == 0 {
		return gauge{style: accent}
	}
	scale *= 1.1
	return gauge{share: amount / scale, mark: share / scale, style: accent}
}
