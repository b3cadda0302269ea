package top

import (
	"fmt"
	"strings"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// header is what is always on the screen.
func header(s *Snapshot, o *Options) []line {
	lines := title(s, o)
	for i := range s.Gateways {
		if g := &s.Gateways[i]; g.Error != "" {
			away := clean(g.Address) + " away for " + output.Span(s.Now.Sub(g.Since))
			lines = append(lines, append(field("gateway"), span{away, bad}, span{": " + clean(g.Error), normal}).cutTo(o.Width))
		}
	}
	if s.Cluster.Value == nil {
		return lines
	}
	return append(lines, membersLine(s, o), clientsLine(s, o), movesLine(s, o), balanceLine(s, o))
}

// field is the name of a line of the header.
func field(name string) line { return say(faint, pad(name, 8, false)) }

// title is the cluster's name, its health and the time of day, in two lines where one does not do.
func title(s *Snapshot, o *Options) []line {
	name := span{"kring ", strong}
	clock := say(faint, s.Now.In(o.Location).Format("15:04:05"))
	one := func(look style, text string) []line { return []line{ends(o.Width, line{name, {text, look}}, clock)} }
	c := s.Cluster.Value
	switch {
	case c == nil && s.away():
		return one(bad, "no gateway answers")
	case c == nil:
		return one(faint, "asking "+clean(s.Gateways[s.Asked].Address))
	case s.away():
		return one(bad, "no gateway answers; this is of "+output.Span(s.Now.Sub(s.Cluster.At))+" ago")
	}
	look := warn
	switch c.Health {
	case rest.Healthy:
		look = good
	case "partial":
		look = bad
	}
	summary, id := clean(c.Summary()), clean(c.ClusterID)
	for _, cluster := range []string{id, cut(id, 8), ""} {
		begin := line{name}
		if cluster != "" {
			begin = append(begin, span{cluster + "  ", faint})
		}
		begin = append(begin, span{summary, look})
		if begin.width()+1+clock.width() <= o.Width {
			return []line{ends(o.Width, begin, clock)}
		}
	}
	room := o.Width - width(name.text) - 1 - clock.width()
	split := 0
	for i := range summary {
		if strings.HasPrefix(summary[i:], ", ") && width(summary[:i+1]) <= room {
			split = i + 2
		}
	}
	if split == 0 {
		return one(look, summary)
	}
	return append(one(look, summary[:split-1]), append(field(""), span{summary[split:], look}).cutTo(o.Width))
}

func membersLine(s *Snapshot, o *Options) line {
	c := s.Cluster.Value
	all := []line{append(field("nodes"), span{text: countText(c.Nodes)}), say(normal, leadText(s))}
	if c.Gateways != nil {
		all = append(all, say(normal, fmt.Sprintf("gateways %d", *c.Gateways)))
	}
	if c.Formed {
		all = append(all, say(normal, fmt.Sprintf("partitions %d×%d", c.Partitions.Total, c.Settings.Replicas)))
	}
	all = append(all, stale(&s.Cluster, s.Now))
	if len(s.Gateways) > 1 {
		all = append(all, say(faint, "by "+clean(s.Gateways[s.Asked].Address)))
	}
	return parts(o.Width, "   ", all...)
}

func countText(c rest.Count) string {
	return fmt.Sprintf("%d of %d", c.Up, max(c.Total, int(c.Expected)))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// leadText is how many coordinators there are, and who leads them.
func leadText(s *Snapshot) string {
	c := s.Cluster.Value.Coordinators
	if c == nil {
		return "no coordinator answers"
	}
	text := "coordinators " + countText(*c)
	if m := s.Members.Value; m != nil {
		for i := range m.Coordinators {
			if m.Coordinators[i].Leader {
				return text + ", " + clean(m.Coordinators[i].ID) + " leads"
			}
		}
	}
	return text
}

// clientsLine is what clients of the gateways wait, and how much that slows moves down.
func clientsLine(s *Snapshot, o *Options) line {
	r := s.Rebalance.Value
	name := field("clients")
	if r == nil {
		return append(name, unknown(s.Rebalance.Error)...)
	}
	c := &r.Clients
	all := []line{append(name, span{text: output.Rate(c.RequestsPerSecond) + " req/s"})}
	if c.RequestsPerSecond > 0 {
		look := normal
		if r.GuardMicros > 0 && c.P99Micros > r.GuardMicros {
			look = warn
		}
		all = append(all, say(normal, "p50 "+output.Latency(c.P50Micros)), say(look, "p99 "+output.Latency(c.P99Micros)))
	}
	switch {
	case r.Settings.Guard.Off:
		return parts(o.Width, "   ", append(all, say(faint, "guard off"), stale(&s.Rebalance, s.Now))...)
	case len(r.Transfers) == 0 && r.MovesLeft == 0: // where the next moves begin says nothing yet
		return parts(o.Width, "   ", append(all, say(faint, "guard on"), stale(&s.Rebalance, s.Now))...)
	}
	look := normal
	if r.GuardShare < 1 {
		look = warn
	}
	guard := line{{"guard ", normal}, {output.FinePercent(r.GuardShare), look}}
	if o.Width >= 100 {
		guard = line{{"guard ", normal}, {output.Bar(r.GuardShare, 10) + " " + output.FinePercent(r.GuardShare), look}}
	}
	all = append(all, guard, stale(&s.Rebalance, s.Now))
	if r.GuardMicros > 0 {
		all = append(all, say(faint, "from p99 "+output.Latency(r.GuardMicros)))
	}
	return parts(o.Width, "   ", all...)
}

// movesLine is how much there is to move, and how fast that goes.
func movesLine(s *Snapshot, o *Options) line {
	r := s.Rebalance.Value
	name := field("moves")
	if r == nil {
		return append(name, unknown(s.Rebalance.Error)...)
	}
	var paused line
	if r.Settings.Paused {
		paused = say(warn, "PAUSED but for repair")
	}
	if len(r.Transfers) == 0 && r.MovesLeft == 0 {
		return parts(o.Width, "   ", append(name, span{"none", faint}), paused)
	}
	text := fmt.Sprintf("%d left, %d of them now", max(r.MovesLeft, len(r.Transfers)), len(r.Transfers))
	all := []line{append(name, span{text: text}), paused, say(normal, output.Size(r.BytesPerSecond)+"/s"),
		say(normal, output.Size(r.BytesLeft)+" left")}
	if r.EtaMillis > 0 {
		all = append(all, say(normal, "done in "+eta(r.EtaMillis)))
	}
	all = append(all, say(faint, "limit "+output.Size(r.Settings.NodeBytesPerSecond)+"/s a node"))
	return parts(o.Width, "   ", all...)
}

// balanceLine is how even copies and primaries lie.
func balanceLine(s *Snapshot, o *Options) line {
	name := field("balance")
	if s.Members.Value == nil {
		return append(name, unknown(s.Members.Error)...)
	}
	copies, leads := balance(s)
	if copies == 0 {
		return append(name, span{"nothing placed yet", faint})
	}
	all := []line{append(name, ratio("copies", copies)...), ratio("leads", leads), say(faint, "(most over mean, by share)")}
	return parts(o.Width, "   ", append(all, stale(&s.Members, s.Now))...)
}

// even is what the planner aims at for copies; above the double of it something is on its way.
const (
	even   = 1.10
	uneven = 1.25
)

func ratio(name string, r float64) line {
	look := good
	switch {
	case r > uneven:
		look = bad
	case r > even:
		look = warn
	}
	return line{{name + " ", normal}, {fmt.Sprintf("%.2f", r), look}}
}

// balance is the most of copies and of primaries that a node has relative to its share, over the mean; 0: there are none. Nodes that
// are to have none do not count.
func balance(s *Snapshot) (copies, leads float64) {
	shares := map[string]float64{}
	if r := s.Rebalance.Value; r != nil {
		for i := range r.Nodes {
			shares[r.Nodes[i].Node] = r.Nodes[i].Share
		}
	}
	var c, l tally
	for i := range s.Members.Value.Nodes {
		n := &s.Members.Value.Nodes[i]
		share, known := shares[n.Node]
		if !known && n.State == "up" {
			share = float64(n.Weight)
		}
		if share <= 0 {
			continue
		}
		c.add(float64(n.Copies), share)
		if n.State == "up" {
			l.add(float64(n.Primaries), float64(n.Weight))
		}
	}
	return c.ratio(), l.ratio()
}

// tally finds the most of some amount relative to shares.
type tally struct{ amount, share, most float64 }

func (t *tally) add(amount, share float64) {
	if share > 0 {
		t.amount, t.share, t.most = t.amount+amount, t.share+share, max(t.most, amount/share)
	}
}

func (t *tally) ratio() float64 {
	if t.amount == 0 {
		return 0
	}
	return t.most * t.share / t.amount
}
