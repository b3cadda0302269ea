package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// LoadConfig is how much load there is. The zero value of a field is its default.
type LoadConfig struct {
	// HotKeys is the number of hot partitions-to-be: registers, lists and counters each have a key in every one. Default 10.
	HotKeys int
	// Prefix begins every key's name, so that runs on one cluster do not meet.
	Prefix string
	// Registers, Inserts, Lists, Counters, Expiring are the numbers of clients; each waits for its answer before it goes on.
	// Registers, Lists and Counters are a hot key. Negative: none. Defaults 3, 8, 1, 1 and 4.
	Registers, Inserts, Lists, Counters, Expiring int
	// Pause is how long a client waits between two operations, on average. Default 20 ms.
	Pause time.Duration
	// Increments ends counting after so many increments that were acknowledged. 0: none.
	Increments uint64
	// EpochOperations is after how many operations a hot register or list gets a new name. Default 400.
	EpochOperations int
	// JudgeLimit is how long the checker may take over one register's history. Default 30 s.
	JudgeLimit time.Duration
}

func (c LoadConfig) withDefaults() LoadConfig {
	number := func(v *int, standard int) {
		if *v == 0 {
			*v = standard
		}
	}
	number(&c.HotKeys, 10)
	number(&c.Registers, 3)
	number(&c.Inserts, 8)
	number(&c.Lists, 1)
	number(&c.Counters, 1)
	number(&c.Expiring, 4)
	number(&c.EpochOperations, 400)
	if c.Pause == 0 {
		c.Pause = 20 * time.Millisecond
	}
	if c.JudgeLimit == 0 {
		c.JudgeLimit = 30 * time.Second
	}
	return c
}

// client is one sequence of operations.
type client interface {
	// step does one operation and waits for its end.
	step(ctx context.Context)
}

// workload is clients that belong together and the check of what they saw.
type workload interface {
	clients() []client
	// audit reads, with nothing else going on and the cluster whole, what must be there.
	audit(ctx context.Context)
	verdicts() []Verdict
}

// Load is the clients of a run.
type Load struct {
	config    LoadConfig
	shared    *shared
	workloads []workload
	stop      chan struct{}
	running   sync.WaitGroup
}

// shared is what all workloads write to.
type shared struct {
	store     Store
	clock     Clock
	config    LoadConfig
	tally     *tally
	gaps      *Gaps
	primaries *primaries
}

// NewLoad makes the load; it begins with Start. Times are those of clock.
func NewLoad(store Store, clock Clock, seed uint64, c LoadConfig) *Load {
	c = c.withDefaults()
	s := &shared{
		store: store, clock: clock, config: c, tally: newTally(), gaps: NewGaps(clock, c.HotKeys), primaries: newPrimaries(),
	}
	random := rand.New(rand.NewPCG(seed, 1))
	l := &Load{config: c, shared: s, stop: make(chan struct{})}
	if c.Registers > 0 {
		l.workloads = append(l.workloads, newRegisters(s, random))
	}
	if c.Inserts > 0 {
		l.workloads = append(l.workloads, newInserts(s))
	}
	if c.Lists > 0 {
		l.workloads = append(l.workloads, newLists(s))
	}
	if c.Counters > 0 {
		l.workloads = append(l.workloads, newCounters(s))
	}
	if c.Expiring > 0 {
		l.workloads = append(l.workloads, newExpiring(s, random))
	}
	return l
}

// hot is the part of a name that keeps it in the k-th hot partition.
func (s *shared) hot(k int) string { return fmt.Sprintf("{%shot%d}", s.config.Prefix, k) }

// HotKeys are keys of the hot partitions, one each.
func (l *Load) HotKeys() []string {
	keys := make([]string, l.config.HotKeys)
	for k := range keys {
		keys[k] = l.shared.hot(k)
	}
	return keys
}

// Gaps is where the times without an acknowledged write of the hot keys are measured.
func (l *Load) Gaps() *Gaps { return l.shared.gaps }

// Counts is what was done so far.
func (l *Load) Counts() Counts { return l.shared.tally.result() }

// Start starts the clients. They go on, whatever happens to the cluster, until Stop; ctx only ends their calls.
func (l *Load) Start(ctx context.Context) {
	number := 0
	for _, w := range l.workloads {
		for _, c := range w.clients() {
			number++
			random := rand.New(rand.NewPCG(uint64(number), 2))
			l.running.Go(func() { l.run(ctx, c, random) })
		}
	}
}

func (l *Load) run(ctx context.Context, c client, random *rand.Rand) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.step(ctx)
		timer.Reset(time.Duration(random.Int64N(int64(2*l.config.Pause) + 1)))
	}
}

// counted reports whether all the increments that were asked for are acknowledged.
func (l *Load) counted() bool {
	for _, w := range l.workloads {
		if c, ok := w.(*counters); ok {
			return l.config.Increments > 0 && c.total.Load() >= l.config.Increments
		}
	}
	return false
}

// Stop lets every client end its operation and returns when all have.
func (l *Load) Stop() {
	close(l.stop)
	l.running.Wait()
}

// Audit reads back everything that must be there. The load must have been stopped and the cluster be whole.
func (l *Load) Audit(ctx context.Context) {
	for _, w := range l.workloads {
		w.audit(ctx)
	}
}

// Verdicts are those of all checks; final after Audit.
func (l *Load) Verdicts() []Verdict {
	verdicts := []Verdict{l.shared.primaries.result()}
	for _, w := range l.workloads {
		verdicts = append(verdicts, w.verdicts()...)
	}
	return verdicts
}
