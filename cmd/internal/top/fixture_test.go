package top

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/rest"
)

// now is when all pictures are taken.
var now = time.Date(2024, time.March, 5, 14, 3, 22, 0, time.UTC)

const fixtureCluster = "0670f4a38bafdfe172a3abd33cfc95ed"

// parse makes a value of the JSON that a gateway would send.
func parse[T any](t testing.TB, text string) Part[T] {
	t.Helper()
	v := new(T)
	require.NoError(t, json.Unmarshal([]byte(text), v), text)
	return Part[T]{Value: v, At: now.Add(-500 * time.Millisecond)}
}

func node(id, state, zone string, copies, joining, primaries int, more string) string {
	return fmt.Sprintf(`{"node":%q,"state":%q,"zone":%q,"weight":100,"copies":%d,"primaries":%d,"report":{"joining_copies":%d%s,
		"load":{"reads_per_second":%d,"writes_per_second":%d.5,"bytes_on_disk":%d}}}`,
		id, state, zone, copies, primaries, joining, more, 7*primaries, copies, copies*3<<20)
}

func nodeBalance(id string, share float64) string {
	return fmt.Sprintf(`{"node":%q,"share":%f}`, id, share)
}

func transfer(partition int, from, to, reason, phase string, done, total int) string {
	return fmt.Sprintf(`{"partition":%d,"from":%q,"to":%q,"reason":%q,"phase":%q,"bytes_done":%d,"bytes_total":%d,"bytes_per_second":%d}`,
		partition, from, to, reason, phase, done, total, 4<<20)
}

func join(texts []string) string {
	text := ""
	for i, t := range texts {
		if i > 0 {
			text += ","
		}
		text += t
	}
	return "[" + text + "]"
}

func happened(events []Event, more ...rest.Event) []Event {
	for _, e := range more {
		events = withEvent(events, e)
	}
	return events
}

// healthy is a cluster of five nodes, with nothing to do.
func healthy(t testing.TB) *Snapshot {
	s := &Snapshot{Now: now, Gateways: []Gateway{{Address: "127.0.0.1:8080"}}}
	s.Cluster = parse[rest.Cluster](t, `{"cluster_id":"`+fixtureCluster+`","health":"healthy","formed":true,"coordinators_reachable":true,
		"settings":{"partitions":1024,"replicas":3,"min_in_sync":2},"coordinators":{"total":3,"up":3},"nodes":{"total":5,"up":5},"gateways":2,
		"partitions":{"total":1024}}`)
	var nodes, shares []string
	for i, copies := range []int{614, 610, 620, 613, 615} {
		id := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, node(id, "up", fmt.Sprintf("rack-%d", i%3+1), copies, 0, 200+i, ""))
		shares = append(shares, nodeBalance(id, 614.4))
	}
	s.Members = parse[rest.Members](t, `{"coordinators_reachable":true,"coordinators":[{"id":"c1","alive":true},
		{"id":"c2","alive":true,"leader":true},{"id":"c3","alive":true}],"nodes":`+join(nodes)+`}`)
	s.Rebalance = parse[rest.Rebalance](t, `{"settings":{"node_bytes_per_second":67108864},"guard_share":1,
		"clients":{"requests_per_second":5120,"p50_us":610,"p99_us":4100},"nodes":`+join(shares)+`}`)
	s.Operations = parse[rest.Operations](t, `{"operations":[]}`)
	s.Events = happened(nil, []rest.Event{
		{ID: 256, Time: now.Add(-26 * time.Hour), Type: "formed", Text: "formed: 1024 partitions on 5 nodes"},
		{ID: 512, Time: now.Add(-49 * time.Minute), Type: "node_down", Node: "n3", Text: "n3 is down"},
		{ID: 513, Time: now.Add(-49 * time.Minute), Type: "failover", Text: "others lead the 204 partitions of n3 now"},
		{ID: 768, Time: now.Add(-48 * time.Minute), Type: "node_up", Node: "n3", Text: "n3 is heard of again"},
	}...)
	return s
}

// joining is the same while a sixth node gets its share.
func joining(t testing.TB) *Snapshot {
	s := healthy(t)
	s.Cluster.Value.Nodes = rest.Count{Total: 6, Up: 6}
	var nodes, shares, transfers []string
	for i, copies := range []int{561, 559, 570, 560, 563} {
		id := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, node(id, "up", fmt.Sprintf("rack-%d", i%3+1), copies, 0, 180+i, ""))
		shares = append(shares, nodeBalance(id, 512))
	}
	nodes, shares = append(nodes, node("n6", "up", "rack-3", 259, 10, 114, "")), append(shares, nodeBalance("n6", 512))
	for i := range 10 {
		phase := []string{"snapshot", "snapshot", "log", "waits"}[i%4]
		done := map[string]int{"snapshot": i << 20, "log": 10 << 20}[phase]
		transfers = append(transfers, transfer(17+98*i, fmt.Sprintf("n%d", i%5+1), "n6", "balance", phase, done, 10<<20))
	}
	s.Members.Value.Nodes = parse[rest.Members](t, `{"nodes":`+join(nodes)+`}`).Value.Nodes
	s.Rebalance = parse[rest.Rebalance](t, `{"settings":{"node_bytes_per_second":67108864},"moves_left":253,"bytes_left":2652897280,
		"bytes_per_second":41943040,"eta_ms":63250,"guard_p99_us":6200,"guard_share":0.7,
		"clients":{"requests_per_second":12345,"p50_us":710,"p99_us":6900},"transfers":`+join(transfers)+`,"nodes":`+join(shares)+`}`)
	s.Operations = parse[rest.Operations](t, `{"operations":[{"id":812,"kind":"join","node":"n6","state":"running","copies_total":253,
		"bytes_total":2652897280,"progress":{"copies_left":253,"copies_moving":10,"bytes_left":2652897280,"bytes_per_second":41943040,
		"eta_ms":63250}}]}`)
	s.Events = happened(s.Events, rest.Event{ID: 1024, Time: now.Add(-62 * time.Second), Type: "node_joined", Node: "n6", Text: "n6 joined"},
		rest.Event{ID: 1025, Time: now.Add(-62 * time.Second), Type: "operation", Operation: 812, Text: "join of n6: began"},
		rest.Event{ID: 1536, Time: now.Add(-60 * time.Second), Type: "moves", Text: "copies begin to join: n6 (8)"},
		rest.Event{ID: 1792, Time: now.Add(-4 * time.Second), Type: "handover", Text: "leads handed over in good order by n2 (2)"},
		rest.Event{ID: 2048, Time: now.Add(-2 * time.Second), Type: "moves", Text: "copies in sync now: n6 (4)"})
	return s
}

// draining is five nodes of which one gives its copies away, with moves paused, and a node id that is too long.
func draining(t testing.TB) *Snapshot {
	s := healthy(t)
	nodes := s.Members.Value.Nodes
	nodes[2].State, nodes[2].Copies, nodes[2].Primaries = "draining", 240, 0
	nodes[4].Node = "storage-node-在东京的机器-0000000000000000000000042"
	for i := range s.Rebalance.Value.Nodes {
		s.Rebalance.Value.Nodes[i].Share = []float64{768, 768, 0, 768, 768}[i]
	}
	s.Rebalance.Value.Nodes[4].Node = nodes[4].Node
	r := s.Rebalance.Value
	r.Settings.Paused, r.MovesLeft, r.BytesLeft, r.BytesPerSecond = true, 240, 720<<20, 3<<20
	r.Transfers = *parse[[]rest.Transfer](t, join([]string{
		transfer(3, "n3", nodes[4].Node, "drain", "snapshot", 1<<20, 3<<20), transfer(1001, "n3", "n1", "drain", "waits", 0, 0),
	})).Value
	s.Operations = parse[rest.Operations](t, `{"operations":[
		{"id":912,"kind":"set_weight","node":"n1","weight":200,"state":"running","copies_total":40,"bytes_total":125829120,
		 "message":"waits: moves are paused (kring rebalance resume)","progress":{"copies_left":40,"bytes_left":125829120}},
		{"id":901,"kind":"drain","node":"n3","state":"running","copies_total":620,"bytes_total":1950351360,
		 "progress":{"copies_left":240,"copies_moving":2,"bytes_left":754974720,"bytes_per_second":3145728,"eta_ms":240000}},
		{"id":812,"kind":"join","node":"n5","state":"done","copies_total":512,"bytes_total":1,"ended":"2024-03-05T14:01:02Z"},
		{"id":400,"kind":"join","node":"n4","state":"done","copies_total":512,"bytes_total":1,"ended":"2024-03-05T10:01:02Z"}]}`)
	return s
}

// failing is five nodes of which one is dead, one is not heard of, and a gateway is away.
func failing(t testing.TB) *Snapshot {
	s := healthy(t)
	s.Gateways = []Gateway{
		{Address: "10.0.0.1:8080", Error: "connection refused", Since: now.Add(-12 * time.Second)}, {Address: "10.0.0.2:8080"},
	}
	s.Asked = 1
	under, leaderless := 614, 3
	c := s.Cluster.Value
	c.Health, c.Nodes.Up = "partial", 4
	c.Partitions.UnderReplicated, c.Partitions.Leaderless = &under, &leaderless
	c.NodeProblems = []rest.NodeProblem{{Node: "n2", Kind: "suspect"}}
	nodes := s.Members.Value.Nodes
	nodes[0].State, nodes[0].Primaries = "down", 0
	nodes[1].Report.Suspect = true
	s.Rebalance.Error = "no coordinator leads"
	s.Rebalance.At = now.Add(-9 * time.Second)
	s.Operations.Error = s.Rebalance.Error
	s.EventsError = "no coordinator tells what happens"
	s.Events = happened(s.Events, rest.Event{ID: 4096, Time: now.Add(-9 * time.Second), Type: "node_down", Text: "n1 is down"},
		rest.Event{ID: 4097, Time: now.Add(-9 * time.Second), Type: "failover", Text: "others lead the 200 partitions of n1 now \x1b[2J"})
	return s
}

// starting has asked and not heard yet; without has not been answered by anybody.
func starting(testing.TB) *Snapshot {
	return &Snapshot{Now: now, Gateways: []Gateway{{Address: "127.0.0.1:8080"}}}
}

func without(testing.TB) *Snapshot {
	return &Snapshot{Now: now, Asked: 1, Gateways: []Gateway{
		{Address: "127.0.0.1:8080", Error: "connection refused", Since: now.Add(-75 * time.Second)},
		{Address: "127.0.0.1:8081", Error: "no answer within 2s", Since: now.Add(-2 * time.Second)},
	}}
}

// lost has heard, and does not any more.
func lost(t testing.TB) *Snapshot {
	s := healthy(t)
	s.Gateways[0] = Gateway{Address: "127.0.0.1:8080", Error: "connection refused", Since: now.Add(-7 * time.Second)}
	for _, at := range []*time.Time{&s.Cluster.At, &s.Members.At, &s.Rebalance.At, &s.Operations.At} {
		*at = now.Add(-8 * time.Second)
	}
	s.Cluster.Error, s.Members.Error, s.Rebalance.Error, s.Operations.Error = "refused", "refused", "refused", "refused"
	return s
}

// forming is a cluster that waits for nodes.
func forming(t testing.TB) *Snapshot {
	s := healthy(t)
	s.Cluster = parse[rest.Cluster](t, `{"cluster_id":"`+fixtureCluster+`","health":"forming","coordinators_reachable":true,
		"waiting_for":"2 more nodes","coordinators":{"total":1,"up":1,"expected":1},"nodes":{"total":1,"up":1,"expected":3},"gateways":1}`)
	s.Members = parse[rest.Members](t, `{"coordinators_reachable":true,"nodes":[{"node":"n1","state":"up","weight":100}]}`)
	s.Rebalance = Part[rest.Rebalance]{Error: "the cluster has not formed"}
	s.Events = nil
	return s
}

// many is a large cluster in which three nodes need looking at.
func many(t testing.TB) *Snapshot {
	s := healthy(t)
	s.Cluster.Value.Nodes = rest.Count{Total: 40, Up: 39}
	var nodes []string
	for i := range 40 {
		state := map[int]string{17: "down", 30: "draining"}[i]
		if state == "" {
			state = "up"
		}
		nodes = append(nodes, node(fmt.Sprintf("n%d", i+1), state, "", 70+i%7, 0, 25+i%3, ""))
	}
	s.Members.Value.Nodes = parse[rest.Members](t, `{"nodes":`+join(nodes)+`}`).Value.Nodes
	s.Rebalance.Value.Nodes = nil
	s.Rebalance.Value.Transfers = *parse[[]rest.Transfer](t, join([]string{transfer(3, "n31", "n8", "drain", "log", 2<<20, 2<<20)})).Value
	s.Rebalance.Value.MovesLeft = 20
	return s
}
