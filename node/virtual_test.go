package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// orderedFS makes changes of names in Pebble's directory durable at once. Pebble relies on them reaching the disk in the order in
// which they were made, as they do on journaling file systems; the one in memory loses any of them.
type orderedFS struct{ vfs.FS }

func (f orderedFS) order(name string, err error) error {
	if err != nil || !strings.Contains(name, "/data/") {
		return err
	}
	d, err := f.OpenDir(f.PathDir(name))
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Close()
}

func (f orderedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return file, f.order(name, err)
}

func (f orderedFS) Link(from, to string) error { return f.order(to, f.FS.Link(from, to)) }

func (f orderedFS) Remove(name string) error { return f.order(name, f.FS.Remove(name)) }

func (f orderedFS) Rename(from, to string) error { return f.order(to, f.FS.Rename(from, to)) }

func (f orderedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, c)
	return file, f.order(to, err)
}

// virtual is a cluster on virtual time, a network in memory, and disks that lose what was not synced when the power goes.
type virtual struct {
	*cluster
	fabric *fabric
	disks  map[ring.NodeID]*vfs.MemFS
}

func newVirtual(t *testing.T, nodes int, settings ring.Settings) *virtual {
	started := time.Now()
	f := newFabric()
	v := &virtual{fabric: f, disks: make(map[ring.NodeID]*vfs.MemFS)}
	v.cluster = &cluster{
		t: t, via: f,
		clock: func() replica.Time { return replica.Time(time.Since(started)) + 1 },
		disk: func(m *member) (store.Store, error) {
			if v.disks[m.id] == nil {
				v.disks[m.id] = vfs.NewCrashableMem()
			}
			return store.New(string(m.id), store.Options{
				FS: orderedFS{v.disks[m.id]}, Node: m.id, SegmentBytes: 64 << 10, MemTableBytes: 64 << 10, CacheBytes: 1 << 20,
			})
		},
	}
	v.startAll(nodes, settings)
	return v
}

// powerCut ends a node at once: what it has not synced is lost, but for some of it.
func (v *virtual) powerCut(m *member, rng *rand.Rand) {
	v.fabric.isolate(string(m.id), true) // nothing it does from here on is seen by anybody
	left := v.disks[m.id].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	v.kill(m)
	v.disks[m.id] = left
	v.fabric.isolate(string(m.id), false)
}

// history is what clients saw.
type history struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
	acked int
}

type registerInput struct {
	key   string
	write bool
	value string
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	h.acked++
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked
}

// registers is a map of registers: a read sees the last write, or nothing ("").
var registers = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		for _, op := range ops {
			key := op.Input.(registerInput).key
			byKey[key] = append(byKey[key], op)
		}
		out := make([][]porcupine.Operation, 0, len(byKey))
		for _, one := range byKey {
			out = append(out, one)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(registerInput); in.write {
			return true, in.value
		}
		return output == state, state
	},
}

// never is the return of an operation of which nobody knows whether it happened, or yet will.
const never = int64(1) << 62

// work reads and writes a few keys until ctx ends.
func (h *history) work(ctx context.Context, cl *client.Client, id int, rng *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		in := registerInput{key: fmt.Sprintf("key %d", rng.IntN(4)), write: rng.IntN(2) == 0, value: fmt.Sprintf("%d/%d", id, i)}
		op := porcupine.Operation{ClientId: id, Input: in, Call: h.now()}
		timeout, cancel := context.WithTimeout(ctx, 3*time.Second)
		var err error
		if in.write {
			_, err = cl.Put(timeout, []byte(in.key), []byte(in.value))
		} else {
			var got client.Value
			if got, err = cl.Get(timeout, []byte(in.key)); kverr.CodeOf(err) == kverr.NotFound {
				err = nil
			}
			op.Output = string(got.Value)
		}
		cancel()
		op.Return = h.now()
		switch {
		case err == nil:
			h.add(op)
		case in.write && kverr.OutcomeOf(kverr.CodeOf(err)) != kverr.OutcomeNone:
			op.Return, op.ClientId = never, 1000+len(h.ops)
			h.add(op)
		}
		select {
		case <-time.After(time.Duration(rng.IntN(int(20 * time.Millisecond)))):
		case <-ctx.Done():
		}
	}
}

// bubble runs f on virtual time. What pools keep from one bubble must not get into another, nor out of it: channels and timers belong
// where they were made.
func bubble(t *testing.T, f func(t *testing.T)) {
	emptyPools := func() {
		for range 2 { // what the first collection finds unused, the second frees
			runtime.GC()
		}
	}
	emptyPools()
	defer emptyPools()
	synctest.Test(t, f)
}

// TestVirtualFaults has nodes lose power and links cut, one way and both, under load, on virtual time. What clients see is
// linearizable, and in the end all copies are in sync and alike.
func TestVirtualFaults(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			h := new(history)
			bubble(t, func(t *testing.T) { faults(t, seed, h) })
			result, _ := porcupine.CheckOperationsVerbose(registers, h.ops, time.Minute)
			require.Equal(t, porcupine.Ok, result, "%d operations", len(h.ops))
		})
	}
}

func faults(t *testing.T, seed uint64, h *history) {
	rng := rand.New(rand.NewPCG(seed, seed))
	v := newVirtual(t, 3, ring.Settings{Partitions: 4, Replicas: 3, MinInSync: 2})
	cl := v.client()
	h.start = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for id := range 4 {
		own := rand.New(rand.NewPCG(seed, uint64(id)))
		clients.Go(func() { h.work(ctx, cl, id, own) })
	}
	for round := range 8 {
		v.healthy()
		target := h.count() + 50
		await.Until(t, fmt.Sprint("round ", round), func() bool { return h.count() >= target })
		v.fault(rng)
	}
	v.healthy()
	cancel()
	clients.Wait()
	t.Logf("%d operations in %v", h.count(), time.Since(h.start))
	await.Until(t, "all copies agree", func() bool { return copiesAgreeOn(t, cl, 4) })
}

// fault does something to one node, lets others go on for a while, and mends it.
func (v *virtual) fault(rng *rand.Rand) {
	m := v.members[rng.IntN(len(v.members))]
	other := v.members[rng.IntN(len(v.members))]
	lasts := time.Duration(100+rng.IntN(4000)) * time.Millisecond
	switch kind := rng.IntN(4); {
	case kind == 0:
		v.t.Logf("%s is cut off for %v", m.id, lasts)
		v.fabric.isolate(string(m.id), true)
		v.pass(lasts)
		v.fabric.isolate(string(m.id), false)
	case kind == 1 && other != m:
		v.t.Logf("nothing goes from %s to %s for %v", m.id, other.id, lasts)
		v.fabric.setCut(string(m.id), string(other.id), true)
		v.pass(lasts)
		v.fabric.setCut(string(m.id), string(other.id), false)
	default:
		v.t.Logf("%s is without power for %v", m.id, lasts)
		v.powerCut(m, rng)
		v.pass(lasts)
		v.start(m)
	}
}

// pass lets virtual time go by.
func (v *virtual) pass(d time.Duration) { <-time.After(d) }
