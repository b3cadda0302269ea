package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is a sort of fault.
type Kind string

// The kinds.
const (
	KillNode         Kind = "kill-node"          // kill -9 of a node
	KillPrimary      Kind = "kill-primary"       // kill -9 of the primary of a hot key
	KillAll          Kind = "kill-all"           // kill -9 of all nodes and coordinators at once
	KillStaggered    Kind = "kill-staggered"     // kill -9 of one node after the other, the next before the last is whole again
	KillLeader       Kind = "kill-leader"        // kill -9 of the leading coordinator
	NoCoordinators   Kind = "no-coordinators"    // kill -9 of so many coordinators that they have no quorum
	PauseShort       Kind = "pause-half-lease"   // SIGSTOP of the primary of a hot key, for half the lease
	PauseLease       Kind = "pause-two-leases"   // for twice the lease
	PauseLong        Kind = "pause-ten-leases"   // for ten times the lease
	CutBoth          Kind = "cut-both-ways"      // two nodes do not reach each other
	CutOneWay        Kind = "cut-one-way"        // one node does not reach another, which reaches it
	CutOff           Kind = "cut-off"            // the primary of a hot key reaches nobody and nobody reaches it
	CutCoordinators  Kind = "cut-coordinators"   // a node and the coordinators do not reach each other
	DiskFull         Kind = "disk-full"          // no space left for a node
	SyncError        Kind = "sync-error"         // a node's syncs fail
	SyncHang         Kind = "sync-hang"          // a node's syncs hang
	FlipLog          Kind = "flip-bit-in-log"    // of a node that was killed
	FlipTable        Kind = "flip-bit-in-table"  // of a node that was killed
	EmptyDisk        Kind = "empty-disk"         // a node comes back without data
	SwapDirectories  Kind = "swap-directories"   // two nodes come back with each other's data, which must be refused
	CopiedDirectory  Kind = "copied-directory"   // a node comes back with an older copy of its data, which must be refused
	RollingRestart   Kind = "rolling-restart"    // SIGTERM of every node, one after the other, each waiting until all is whole
	KillGateway      Kind = "kill-gateway"       // kill -9 of a gateway
	KillDuringRepair Kind = "kill-during-repair" // kill -9 of a node, and of another as soon as the first is back
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		KillNode, KillPrimary, KillAll, KillStaggered, KillLeader, NoCoordinators, PauseShort, PauseLease, PauseLong,
		CutBoth, CutOneWay, CutOff, CutCoordinators, DiskFull, SyncError, SyncHang, FlipLog, FlipTable, EmptyDisk,
		SwapDirectories, CopiedDirectory, RollingRestart, KillGateway, KillDuringRepair,
	}
}

// Planned is one fault of a schedule: what is known of it before the run.
type Planned struct {
	Number int           `json:"number"`
	Kind   Kind          `json:"kind"`
	Nodes  []string      `json:"nodes"`   // in a random order: those that a kind needs are taken from the front
	HotKey int           `json:"hot_key"` // for kinds that strike the primary of one
	Hold   time.Duration `json:"hold_ns"` // from the begin to the end
	Pause  time.Duration `json:"pause_ns"`
	Seed   uint64        `json:"seed"` // of what the fault itself decides at random
}

func (p Planned) String() string {
	return fmt.Sprintf("#%d %s (nodes %v, hot key %d, for %v)", p.Number, p.Kind, p.Nodes, p.HotKey, p.Hold)
}

// Plan says how a schedule is made. The zero value of a duration is its default.
type Plan struct {
	Kinds   []Kind
	Nodes   []string
	HotKeys int
	// Lease is the cluster's L. Default 1 s.
	Lease time.Duration
	// HoldLeast and HoldMost bound how long a fault lasts that has no length of its own. Defaults 1 s and 8 s.
	HoldLeast, HoldMost time.Duration
	// NoCoordinators is how long there are none. Default 60 s.
	NoCoordinators time.Duration
	// SyncHang is how long syncs hang. Default 6 s: longer than it takes to notice.
	SyncHang time.Duration
	// Pause bounds the time between a fault's recovery and the next one. Default 2 s.
	Pause time.Duration
}

// Schedule is an endless sequence of faults.
type Schedule struct {
	plan   Plan
	random *rand.Rand
	bag    []Kind // what is left of this round: every kind comes once a round
	number int
}

// noticed is a time after which a node that is away is always known to be: longer than the coordinators wait at most.
const noticed = 5 * time.Second

// NewSchedule makes the one schedule that seed and plan decide.
func NewSchedule(seed uint64, p Plan) *Schedule {
	set := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	set(&p.Lease, time.Second)
	set(&p.HoldLeast, time.Second)
	set(&p.HoldMost, 8*time.Second)
	set(&p.NoCoordinators, time.Minute)
	set(&p.SyncHang, 6*time.Second)
	set(&p.Pause, 2*time.Second)
	return &Schedule{plan: p, random: rand.New(rand.NewPCG(seed, 3))}
}

// Next is the next fault.
func (s *Schedule) Next() Planned {
	if len(s.bag) == 0 {
		s.bag = slices.Clone(s.plan.Kinds)
		s.random.Shuffle(len(s.bag), func(i, j int) { s.bag[i], s.bag[j] = s.bag[j], s.bag[i] })
	}
	kind := s.bag[0]
	s.bag = s.bag[1:]
	s.number++
	nodes := slices.Clone(s.plan.Nodes)
	s.random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	p := Planned{
		Number: s.number, Kind: kind, Nodes: nodes, HotKey: s.random.IntN(max(s.plan.HotKeys, 1)),
		Hold:  s.between(s.plan.HoldLeast, s.plan.HoldMost),
		Pause: s.between(0, s.plan.Pause), Seed: s.random.Uint64(),
	}
	switch kind {
	case PauseShort:
		p.Hold = s.plan.Lease / 2
	case PauseLease:
		p.Hold = 2 * s.plan.Lease
	case PauseLong:
		p.Hold = 10 * s.plan.Lease
	case NoCoordinators:
		p.Hold = s.plan.NoCoordinators
	case SyncHang:
		p.Hold = s.plan.SyncHang
	case SwapDirectories, CopiedDirectory:
		p.Hold = max(p.Hold, noticed) // a node that was refused must have been missed by then
	}
	return p
}

func (s *Schedule) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(s.random.Int64N(int64(max(most-least, 0))+1))).Round(time.Millisecond)
}
