package storetest

import (
	"sync"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// Load appends to a store from many writers at once and measures nothing itself: benchmarks and commands do.
type Load struct {
	store   store.Store
	writers []*loadWriter

	mu     sync.Mutex
	queue  []*loadWriter // in order of position
	synced store.Position
	err    error
}

// loadWriter is one writer with a partition of its own.
type loadWriter struct {
	partition ring.PartitionID
	seq       uint64
	position  store.Position
	durable   chan struct{} // capacity 1
	payload   []byte
	record    [1]entry.Record
}

// NewLoad starts s for writers, each with a partition of its own, that append entries of valueBytes.
func NewLoad(s store.Store, writers, valueBytes int) *Load {
	l := &Load{store: s}
	for i := range writers {
		w := &loadWriter{partition: ring.PartitionID(i), durable: make(chan struct{}, 1)}
		w.payload = entry.Encode(nil, &entry.Entry{
			Seq: 1, Epoch: 1, Op: entry.OpPut, Key: []byte("user0000000001"), Value: make([]byte, valueBytes),
		})
		l.writers = append(l.writers, w)
	}
	s.Start(l.onSynced)
	return l
}

func (l *Load) onSynced(p store.Position, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced, l.err = max(l.synced, p), err
	for len(l.queue) > 0 && (err != nil || l.queue[0].position <= p) {
		l.queue[0].durable <- struct{}{}
		l.queue = l.queue[1:]
	}
}

// Append appends n entries in all and returns when every one is durable. Each writer waits for its entry before it
// appends the next.
func (l *Load) Append(n int) error {
	var done sync.WaitGroup
	for i, w := range l.writers {
		share := n / len(l.writers)
		if i < n%len(l.writers) {
			share++
		}
		done.Go(func() {
			for range share {
				l.append(w)
				<-w.durable
			}
		})
	}
	done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *Load) append(w *loadWriter) {
	w.seq++
	// The payload is the same every time, seq included: to the log it is only bytes.
	w.record[0] = entry.Record{Kind: entry.RecordEntry, Partition: w.partition, Seq: w.seq, Epoch: 1, Payload: w.payload}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.position = l.store.Append(w.record[:])
	l.queue = append(l.queue, w)
}
