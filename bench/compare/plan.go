package compare

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Step is one measurement of a system.
type Step struct {
	Name     string        `json:"name"`
	Workload string        `json:"workload"` // of bench.WorkloadNames
	Workers  int           `json:"workers"`
	Rate     float64       `json:"rate"` // of an open loop; 0: a closed one
	WarmUp   time.Duration `json:"warm_up_ns"`
	Duration time.Duration `json:"duration_ns"`

	// halfOf names the steps half of whose highest throughput, at the reference, is the rate.
	halfOf []string
}

// The steps.
const (
	Put64   = "put-64" // a closed loop of 64 callers
	Put256  = "put-256"
	Get64   = "get-64"
	A64     = "a-64" // YCSB A
	B64     = "b-64"
	PutHalf = "put-half" // an open loop at half of the peak rate
	GetHalf = "get-half"
)

// reference is the system whose peak rates decide the rates of open loops.
const reference = "etcd"

// steps are in the order in which a system meets them; zero workers of an open loop are the harness's default.
var steps = []Step{
	{Name: Put64, Workload: "put", Workers: 64},
	{Name: Put256, Workload: "put", Workers: 256},
	{Name: Get64, Workload: "get", Workers: 64},
	{Name: A64, Workload: "a", Workers: 64},
	{Name: B64, Workload: "b", Workers: 64},
	{Name: PutHalf, Workload: "put", halfOf: []string{Put64, Put256}},
	{Name: GetHalf, Workload: "get", halfOf: []string{Get64}},
}

// StepNames lists the steps.
func StepNames() []string {
	names := make([]string, len(steps))
	for i := range steps {
		names[i] = steps[i].Name
	}
	return names
}

// System is one of those that are compared.
type System struct {
	Name  string
	Peer  string // that it belongs to, as --peers names it; "" for Kring's own
	Steps []string
}

// The names of the systems.
const (
	Kring         = "kring"            // the Go client
	KringTwo      = "kring-two-copies" // the Go client, with as many copies as Redis has
	KringREST     = "kring-rest"       // through a gateway
	Handler       = "handler"          // net/http and chi, nothing behind
	Etcd          = reference
	NATS          = "nats"           // with every message synced
	NATSDefaults  = "nats-defaults"  // as it comes
	Redis         = "redis"          // as safe as it gets
	RedisDefaults = "redis-defaults" // as it comes
)

// systems are in the order of the first round. Etcd is first: its peak rates are the others' too.
var systems = []System{
	{Name: Etcd, Peer: Etcd, Steps: []string{Put64, Put256, Get64, PutHalf, GetHalf}},
	{Name: Redis, Peer: Redis, Steps: []string{Put64, Put256, Get64, A64, B64}},
	{Name: RedisDefaults, Peer: Redis, Steps: []string{Put64, Get64, A64, B64}},
	{Name: NATS, Peer: NATS, Steps: []string{Put64, Put256, Get64}},
	{Name: NATSDefaults, Peer: NATS, Steps: []string{Put64}},
	{Name: Kring, Steps: StepNames()},
	{Name: KringTwo, Steps: []string{Put64}},
	{Name: KringREST, Steps: []string{Put64, Get64}},
	{Name: Handler, Steps: []string{Get64}},
}

// Peers lists what --peers may name.
func Peers() []string { return []string{Etcd, Redis, NATS} }

// Select gives Kring's systems and those of the peers, with the named steps of each (none: all), leaving out who has none.
func Select(peers, only []string) ([]System, error) {
	for _, p := range peers {
		if !slices.Contains(Peers(), p) {
			return nil, fmt.Errorf("unknown peer %q: write some of %s", p, strings.Join(Peers(), ","))
		}
	}
	for _, s := range only {
		if !slices.Contains(StepNames(), s) {
			return nil, fmt.Errorf("unknown step %q: write some of %s", s, strings.Join(StepNames(), ","))
		}
	}
	var chosen []System
	for _, s := range systems {
		if s.Peer != "" && !slices.Contains(peers, s.Peer) {
			continue
		}
		s.Steps = slices.DeleteFunc(slices.Clone(s.Steps), func(name string) bool {
			return len(only) > 0 && !slices.Contains(only, name)
		})
		if len(s.Steps) > 0 {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// Figure is what of a step is compared.
type Figure string

// The figures.
const (
	Throughput Figure = "operations a second"
	P99        Figure = "p99"
	CPU        Figure = "CPU seconds a million operations"
)

// Goal is a ratio that Kring is to reach: at least Bound for Throughput, at most for the others. 0: it is
// shown, and no goal.
type Goal struct {
	Title       string
	Of, Against string // systems
	Step        string // the same of both
	Figure      Figure
	Bound       float64
	Access      Access
}

// Met reports whether the ratio reaches the goal; one without a bound has nothing to reach.
func (g Goal) Met(ratio float64) bool {
	if g.Figure == Throughput {
		return ratio >= g.Bound
	}
	return ratio <= g.Bound
}

// Want is the goal in words.
func (g Goal) Want() string {
	if g.Bound == 0 {
		return "-"
	}
	if g.Figure == Throughput {
		return fmt.Sprintf("≥ %g ×", g.Bound)
	}
	return fmt.Sprintf("≤ %g ×", g.Bound)
}

var goals = []Goal{
	{"PUT, Go client, 64 callers", Kring, Etcd, Put64, Throughput, 5, Writing},
	{"PUT, Go client, 256 callers", Kring, Etcd, Put256, Throughput, 5, Writing},
	{"PUT, Go client, 64 callers", Kring, NATS, Put64, Throughput, 1.5, Writing},
	{"PUT, Go client, 256 callers", Kring, NATS, Put256, Throughput, 1.5, Writing},
	{"PUT, Go client, 64 callers", Kring, Redis, Put64, Throughput, 1.2, Writing},
	{"PUT, Go client, 256 callers", Kring, Redis, Put256, Throughput, 1.2, Writing},
	{"GET, Go client, 64 callers", Kring, Etcd, Get64, Throughput, 12, Reading},
	{"GET, Go client, 64 callers", Kring, Redis, Get64, Throughput, 2, Reading},
	{"YCSB A, zipfian, Go client, 64 callers", Kring, Redis, A64, Throughput, 1.2, Reading | Writing},
	{"YCSB B, zipfian, Go client, 64 callers", Kring, Redis, B64, Throughput, 1.2, Reading | Writing},
	{"REST GET, 64 connections", KringREST, Handler, Get64, Throughput, 0.6, Reading},
	{"REST PUT, 64 connections", KringREST, Etcd, Put64, Throughput, 3, Writing},
	{"p99 of GET at half of etcd's peak rate", Kring, Etcd, GetHalf, P99, 0.5, Reading},
	{"p99 of PUT at half of etcd's peak rate", Kring, Etcd, PutHalf, P99, 0.7, Writing},
	{"CPU of all servers, PUT, two copies", KringTwo, Redis, Put64, CPU, 1.5, Writing},
	{"CPU of all servers, PUT", Kring, Redis, Put64, CPU, 1.5, Writing},
	{"PUT, Go client, 64 callers", Kring, RedisDefaults, Put64, Throughput, 0, Writing},
	{"PUT, Go client, 64 callers", Kring, NATSDefaults, Put64, Throughput, 0, Writing},
	{"GET, Go client, 64 callers", Kring, NATS, Get64, Throughput, 0, Reading},
}
