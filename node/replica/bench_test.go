package replica

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// memoryDisk forgets everything: for measuring the core alone.
type memoryDisk struct{}

func (memoryDisk) State(ring.PartitionID, []byte, bool) (State, error) { return State{}, nil }
func (memoryDisk) Kept(ring.PartitionID, []byte) (Kept, bool, error)   { return Kept{}, false, nil }
func (memoryDisk) Entries(ring.PartitionID, uint64, uint64, int) ([][]byte, error) {
	return nil, ErrTrimmed
}

// wires is three cores whose frames, syncs and applies happen at once.
type wires struct {
	now     Time
	cores   []*Core
	records []uint64
	batch   []Apply
	answers int
	frame   Frame
}

func newWires(b testing.TB, partitions int) *wires {
	w := &wires{now: Time(time.Hour), records: make([]uint64, 3)}
	var replicas []ring.Replica
	for i := range 3 {
		replicas = append(replicas, ring.Replica{Node: ring.NodeID(fmt.Sprintf("n%d", i)), Store: ring.StoreID(i + 1)})
	}
	var table []ring.Partition
	for i := range partitions {
		table = append(table, ring.Partition{ID: ring.PartitionID(i), Epoch: 1, Primary: replicas[i%3], InSync: replicas})
	}
	for i := range replicas {
		c, err := New(simConfig(replicas[i], 1), memoryDisk{}, func() uint64 { return 1 }, nil, w.now)
		if err != nil {
			b.Fatal(err)
		}
		w.cores = append(w.cores, c)
	}
	for i, c := range w.cores {
		for j := range replicas {
			if i != j {
				c.Step(w.now, &PeerUp{Peer: replicas[j], Boot: 1})
			}
		}
		c.Step(w.now, &Configure{Partitions: table})
	}
	w.settle()
	w.now++
	return w
}

func (w *wires) settle() {
	for moved := true; moved; {
		moved = false
		for i, c := range w.cores {
			moved = w.drain(i, c) || moved
		}
	}
}

func (w *wires) drain(i int, c *Core) (moved bool) {
	if n := uint64(len(c.Out.Records)); n > 0 {
		w.records[i] += n
		c.Step(w.now, &Synced{Position: w.records[i]})
		moved = true
	}
	for i := 0; i < len(c.Out.Wake); i++ {
		to := c.Out.Wake[i]
		for more := true; more; {
			w.frame = Frame{Appends: w.frame.Appends[:0], Acks: w.frame.Acks[:0]}
			more, _ = c.Collect(w.now, to, &w.frame)
			if !w.frame.Empty() {
				w.deliver(c.cfg.Self, to)
			}
		}
		moved = true
	}
	w.answers += len(c.Out.Answers)
	c.Out.Reset()
	w.batch, _ = c.TakeApplies(w.batch[:0], 1<<20)
	if len(w.batch) > 0 {
		c.Step(w.now, &Applied{Batch: w.batch})
		moved = true
	}
	return moved || len(c.Out.Wake) > 0 || len(c.Out.Answers) > 0
}

func (w *wires) deliver(from, to ring.Replica) {
	for i := range w.frame.Appends {
		for j := range w.frame.Appends[i].Entries {
			e := &w.frame.Appends[i].Entries[j]
			e.Entry = new(entry.Entry)
			if err := entry.Decode(e.Bytes, e.Entry); err != nil {
				panic(err)
			}
		}
	}
	for _, c := range w.cores {
		if c.cfg.Self == to {
			c.Step(w.now, &Received{From: from, Boot: 1, Frame: &w.frame})
		}
	}
}

// BenchmarkProposeCommit is the whole protocol of a write on three cores, with 64 writes under way at a time.
func BenchmarkProposeCommit(b *testing.B) {
	w := newWires(b, 3)
	key, value := []byte("some/key"), make([]byte, 128)
	w.answers = 0
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		w.cores[0].Step(w.now, &Propose{
			Token: w, Partition: 0, Epoch: 1, Deadline: w.now.add(time.Hour),
			Entry: &entry.Entry{Op: entry.OpPut, Key: key, Value: value},
		})
		if i%64 == 63 {
			w.settle()
		}
	}
	w.settle()
	if w.answers != b.N {
		b.Fatalf("%d answers to %d writes", w.answers, b.N)
	}
}

// BenchmarkIdle is one second of three nodes with 1,024 partitions between them and nothing to do.
func BenchmarkIdle(b *testing.B) {
	w := newWires(b, 1024)
	b.ReportAllocs()
	for b.Loop() {
		for range 16 {
			w.now = w.now.add(time.Second / 16)
			for _, c := range w.cores {
				c.Step(w.now, &Tick{})
			}
			w.settle()
		}
	}
}

func TestIdlePartitionTakesLittleMemory(t *testing.T) {
	const partitions, limit = 1024, 4 << 10
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	w := newWires(t, partitions)
	for range 32 {
		w.now = w.now.add(time.Second / 16)
		for _, c := range w.cores {
			c.Step(w.now, &Tick{})
		}
		w.settle()
	}
	each := (heap() - before) / (3 * partitions)
	for i, c := range w.cores {
		if primaries, held := c.Counts(); held != partitions || primaries < partitions/3 {
			t.Fatalf("core %d leads %d and holds %d of %d", i, primaries, held, partitions)
		}
	}
	t.Logf("%d bytes a partition and node", each)
	if each > limit {
		t.Errorf("%d bytes a partition and node, at most %d", each, limit)
	}
	runtime.KeepAlive(w)
}
