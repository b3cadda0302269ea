package store_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

var (
	crashSeed = flag.Uint64("crash.seed", 0, "replay TestCrash from this seed (also KRING_CRASH_SEED)")
	crashFor  = flag.Duration("crash.for", 8*time.Second, "how long TestCrash goes on")
)

// TestCrash cuts the power at every write, sync, rename and removal of random workloads, and opens what is left: some of
// what was never synced kept, some lost, block by block. Every record that was reported durable must be found, in the
// order in which it was appended and with nothing after the last that was; promises, applied state and all.
//
// A seed fixes the workloads and what each cut loses, but not how the store's goroutines take turns.
func TestCrash(t *testing.T) {
	seed := *crashSeed
	if s := os.Getenv("KRING_CRASH_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with KRING_CRASH_SEED=%d", seed)
	limit := *crashFor
	if testing.Short() {
		limit /= 8
	}
	cuts, rounds, flipped := 0, 0, 0
	for begun := time.Now(); time.Since(begun) < limit && !t.Failed(); rounds++ {
		n, f := crashChain(t, seed+uint64(rounds), begun.Add(limit))
		cuts, flipped = cuts+n, flipped+f
	}
	t.Logf("%d cuts in %d chains of crashes, %d of them after a snapshot was installed", cuts, rounds, flipped)
}

// crashChain begins with an empty disk and lets one incarnation of the store follow the other, each on what a cut of the
// one before left, until four of them or the time are over.
func crashChain(t *testing.T, seed uint64, until time.Time) (cuts, flipped int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	on := &wreck{fs: vfs.NewCrashableMem(), before: model{}}
	for incarnation := 0; incarnation < 4 && !t.Failed() && (incarnation == 0 || time.Now().Before(until)); incarnation++ {
		w := newWorkload(rng, seed, on)
		wrecks := w.run(t)
		cuts += len(wrecks)
		if err := checkWrecks(wrecks); err != nil {
			t.Errorf("seed %d, incarnation %d: %v", seed, incarnation, err)
			return cuts, flipped
		}
		if len(wrecks) == 0 {
			return cuts, flipped
		}
		for _, w := range wrecks {
			for _, p := range w.found {
				if p.generation > 1 {
					flipped++
					break
				}
			}
		}
		// What was found in one of them is where the next begins. Checking has written to it, so it is not what was
		// left but what a start made of it.
		on = wrecks[rng.IntN(len(wrecks))]
		on = &wreck{fs: on.fs, before: on.found, started: on.started}
	}
	return cuts, flipped
}

// wreck is a disk after the power went, and what must and may be on it.
type wreck struct {
	fs       *vfs.MemFS
	before   model         // what the incarnation began with
	records  []modelRecord // what was appended at most
	durable  int           // how many of them were reported durable
	applied  map[ring.PartitionID]uint64
	index    int
	retained int
	started  bool // New had returned

	found model
}

func checkWrecks(wrecks []*wreck) error {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
		next = make(chan *wreck)
	)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for w := range next {
				if err := w.check(); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("cut %d, keeping %d%% of what was not synced: %w", w.index, w.retained, err))
					mu.Unlock()
				}
			}
		})
	}
	for _, w := range wrecks {
		next <- w
	}
	close(next)
	wait.Wait()
	return errors.Join(errs...)
}

func (w *wreck) check() (err error) {
	options := crashOptions(w.fs)
	opened, err := store.New("node", options)
	if err != nil {
		return err
	}
	s := &found{Store: opened}
	defer func() {
		err = errors.Join(err, s.Close())
		if err == nil && w.index%4 == 0 {
			err = checkGenerations(w.fs, w.found)
		}
	}()
	want := outline(s.Recovered())
	m := w.before.clone()
	for id, applied := range w.applied {
		m.partition(id).applied = applied
	}
	tried := ""
	var differs error
	for n := 0; ; n++ {
		if n >= w.durable {
			if tried = m.outline(); tried == want {
				// An entry that was truncated and written again looks the same from afar: only the first one that is
				// the same in every byte is what was found.
				err := m.check(s)
				if differs = errors.Join(differs, err); err == nil {
					for _, p := range m {
						p.applied = p.last() // check did
					}
					w.found = m
					return nil
				}
			}
		}
		if n == len(w.records) {
			if differs != nil {
				return differs
			}
			return fmt.Errorf("%d of %d records were durable, found is\n%sbut the most would be\n%s", w.durable, n, want, tried)
		}
		m.record(w.records[n], n)
	}
}

func crashOptions(fs vfs.FS) store.Options {
	return store.Options{
		FS: fs, Node: "n1", SegmentBytes: 8 << 10, FlushBytes: 4 << 10, FlushEvery: time.Hour, RetainFor: 1,
		RetainBytes: 24 << 10, CacheBytes: 64 << 10, MemTableBytes: 64 << 10,
	}
}

// workload drives one incarnation of a store.
type workload struct {
	rng  *rand.Rand
	seed uint64
	fs   *crashFS
	disk *vfs.MemFS
	base model

	mu      sync.Mutex
	model   model // all of base and records
	records []modelRecord
	applied map[ring.PartitionID]uint64
	durable int
	cond    *sync.Cond
	wrecks  []*wreck
	cuts    int
	failure error

	installs map[ring.PartitionID]*installing
}

func newWorkload(rng *rand.Rand, seed uint64, on *wreck) *workload {
	w := &workload{
		rng: rng, seed: seed, disk: on.fs, base: on.before, model: on.before.clone(),
		applied: make(map[ring.PartitionID]uint64), installs: make(map[ring.PartitionID]*installing),
	}
	for id, p := range on.before {
		w.applied[id] = p.applied
	}
	w.cond = sync.NewCond(&w.mu)
	w.fs = &crashFS{FS: on.fs, cut: w.cut}
	return w
}

// cut keeps what the power going now would leave.
func (w *workload) cut() {
	w.mu.Lock()
	durable := w.durable
	w.cuts++
	index := w.cuts
	w.mu.Unlock()
	rng := rand.New(rand.NewPCG(w.seed, uint64(index)))
	retained := []int{0, 10, 50, 90, 100}[rng.IntN(5)]
	clone := w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: retained, RNG: rng})
	w.mu.Lock()
	defer w.mu.Unlock()
	applied := make(map[ring.PartitionID]uint64, len(w.applied))
	for id, seq := range w.applied {
		applied[id] = seq
	}
	w.wrecks = append(w.wrecks, &wreck{
		fs: clone, before: w.base, records: w.records[:len(w.records):len(w.records)], durable: durable,
		applied: applied, index: index, retained: retained,
	})
}

func (w *workload) run(t *testing.T) []*wreck {
	s, err := store.New("node", crashOptions(w.fs))
	require.NoError(t, err)
	s.Start(func(p store.Position, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.failure = err
		}
		w.durable = max(w.durable, int(p))
		w.cond.Broadcast()
	})
	for range 50 {
		w.step(t, s)
	}
	w.await(len(w.records))
	require.NoError(t, w.failure)
	require.NoError(t, s.Close())
	w.fs.mu.Lock()
	defer w.fs.mu.Unlock()
	w.fs.cut = nil
	return w.wrecks
}

func (w *workload) step(t *testing.T, s store.Store) {
	id := ring.PartitionID(w.rng.IntN(5))
	switch n := w.rng.IntN(28); {
	case n >= 26:
		w.jump(t, s, id)
	case n >= 20:
		w.install(t, s, 1+ring.PartitionID(w.rng.IntN(2)))
	case n < 10:
		w.append(s, w.entries(id, 1+w.rng.IntN(4))...)
	case n < 11:
		w.append(s, w.large(id))
	case n < 12:
		epoch := w.model.partition(id).promised + 1
		w.append(s, entry.Record{
			Kind: entry.RecordPromise, Partition: id, Epoch: epoch,
			Payload: entry.EncodeConfiguration(ring.Partition{ID: id, Epoch: epoch}),
		})
	case n < 13:
		p := w.model.partition(id)
		to := p.applied + uint64(w.rng.IntN(int(p.last()-p.applied)+1))
		w.append(s, entry.Record{Kind: entry.RecordTruncate, Partition: id, Seq: to, Epoch: p.promised})
	case n < 17:
		w.apply(t, s)
	case n < 18:
		require.NoError(t, s.Flush())
	default:
		w.await(w.rng.IntN(len(w.records) + 1))
	}
}

func (w *workload) await(position int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.durable < position && w.failure == nil {
		w.cond.Wait()
	}
}

// append notes the records first, so that no cut finds more than what is noted.
func (w *workload) append(s store.Store, records ...entry.Record) {
	w.mu.Lock()
	for _, r := range records {
		w.note(modelRecord{Record: r})
	}
	w.mu.Unlock()
	s.Append(records)
}

// note takes r into account before it is appended; mu must be held.
func (w *workload) note(r modelRecord) {
	w.records = append(w.records, r)
	w.model.record(r, len(w.records))
	if r.to != nil {
		w.applied[r.Partition] = max(w.applied[r.Partition], w.model.partition(r.Partition).applied)
	}
}

// jump applies all of a partition's log and lets it go on further up.
func (w *workload) jump(t *testing.T, s store.Store, id ring.PartitionID) {
	w.await(len(w.records))
	w.mu.Lock()
	p := w.model.partition(id)
	var batch []store.Applied
	for p.applied < p.last() {
		e := new(entry.Entry)
		require.NoError(t, entry.Decode(p.at(p.applied+1).payload, e))
		batch = append(batch, store.Applied{Partition: id, Entry: e})
		p.applied++
		w.applied[id] = p.applied
	}
	w.mu.Unlock()
	require.NoError(t, s.Apply(batch))
	w.mu.Lock()
	keys, err := p.keys()
	require.NoError(t, err)
	hybrid, higher := p.hybridAt(p.last())
	to := &modelSnapshot{seq: p.last() + 1 + uint64(w.rng.IntN(20)), epoch: p.promised, keys: keys, hybrid: hybrid, jumped: true, higher: higher}
	r := entry.Record{Kind: entry.RecordJump, Partition: id, Seq: to.seq, Epoch: to.epoch, Payload: entry.EncodeJump(p.last())}
	w.note(modelRecord{Record: r, to: to})
	w.mu.Unlock()
	s.Append([]entry.Record{r})
}

func (w *workload) entries(id ring.PartitionID, n int) []entry.Record {
	p := w.model.partition(id)
	var out []entry.Record
	for i := range n {
		out = append(out, w.entry(id, p.last()+1+uint64(i), w.rng.IntN(500)))
	}
	return out
}

func (w *workload) large(id ring.PartitionID) entry.Record {
	return w.entry(id, w.model.partition(id).last()+1, 4<<10+w.rng.IntN(12<<10))
}

func (w *workload) entry(id ring.PartitionID, seq uint64, valueBytes int) entry.Record {
	e := entry.Entry{
		Seq: seq, Epoch: w.model.partition(id).promised, HybridTime: seq, Op: entry.OpPut,
		Key: fmt.Appendf(nil, "key-%d", w.rng.IntN(modelKeys)),
	}
	switch w.rng.IntN(10) {
	case 0:
		e.Op = entry.OpDelete
	case 1:
		e.Op, e.Key = entry.OpNoop, nil
	default:
		e.Value = make([]byte, valueBytes)
		for i := range e.Value {
			e.Value[i] = byte(w.rng.Uint32())
		}
		if w.rng.IntN(4) == 0 {
			e.Attributes.ExpiresMillis = w.rng.Uint64() | 1
		}
	}
	return entry.Record{Kind: entry.RecordEntry, Partition: id, Seq: seq, Epoch: e.Epoch, Payload: entry.Encode(nil, &e)}
}

// apply applies some of what is durable, as committed entries are.
func (w *workload) apply(t *testing.T, s store.Store) {
	var batch []store.Applied
	w.mu.Lock()
	for id, p := range w.model {
		if id == 0 && w.rng.IntN(20) > 0 {
			continue // this one's commits wait, and must not hold the log
		}
		for seq := p.applied + 1; seq <= p.last() && p.at(seq).position <= w.durable && w.rng.IntN(8) > 0; seq++ {
			e := new(entry.Entry)
			require.NoError(t, entry.Decode(p.at(seq).payload, e))
			batch = append(batch, store.Applied{Partition: id, Entry: e})
			p.applied = seq
			w.applied[id] = max(w.applied[id], seq)
		}
	}
	w.mu.Unlock()
	require.NoError(t, s.Apply(batch))
}
