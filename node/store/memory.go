package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// memory is the twin of the disk store that keeps everything in maps: what is appended is durable as soon as its
// goroutine has said so, and nothing outlives Close.
type memory struct {
	options Options
	wake    chan struct{} // capacity 1: something was appended, or the store is closing
	done    chan struct{} // closed when the goroutine has ended

	mu         sync.Mutex
	identity   Identity
	settings   ring.Settings
	above      uint64 // see TablesAbove
	onSynced   func(Position, error)
	partitions partitions[[]byte]
	data       map[ring.PartitionID]map[string][]byte // values as in items, by item key
	appended   Position
	synced     Position
	syncs      uint64
	logBytes   uint64
	unsynced   uint64
	dataBytes  uint64
	closing    bool
	snapshots  map[*memorySnapshot]struct{}         // open ones
	installed  map[leftGeneration]map[string][]byte // finished or under way
	retainMore bool
}

var _ Store = (*memory)(nil)

// NewMemory returns a store without a disk, for tests and simulations. Of options it uses Node, RetainBytes
// and RetainMoreBytes.
func NewMemory(options Options) Store {
	m := &memory{
		options:   options.withDefaults(),
		identity:  Identity{Node: options.Node, Store: newStoreID(), Boot: 1},
		data:      make(map[ring.PartitionID]map[string][]byte),
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
		snapshots: make(map[*memorySnapshot]struct{}),
		installed: make(map[leftGeneration]map[string][]byte),
	}
	go m.report()
	return m
}

// report plays the part of the log's goroutine.
func (m *memory) report() {
	defer close(m.done)
	for range m.wake {
		m.mu.Lock()
		position, closing, onSynced := m.appended, m.closing, m.onSynced
		news := position > m.synced
		if news {
			m.synced, m.unsynced = position, 0
			m.syncs++
		}
		m.mu.Unlock()
		if news && onSynced != nil {
			onSynced(position, nil)
		}
		if closing {
			return
		}
	}
}

func (m *memory) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *memory) Identity() Identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.identity
}

func (m *memory) SetClusterID(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identity.ClusterID != "" && m.identity.ClusterID != id {
		return fmt.Errorf("%w: it is of cluster %q, not %q", ErrForeign, m.identity.ClusterID, id)
	}
	m.identity.ClusterID = id
	return nil
}

// Starts implements Store: a memory is opened once.
func (m *memory) Starts() (own uint64, before []uint64) { return 1, nil }

func (m *memory) Recovered() []entry.Recovered { return nil }

func (m *memory) Start(onSynced func(Position, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onSynced = onSynced
}

func (m *memory) Append(records []entry.Record) Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return m.appended + Position(len(records))
	}
	for i := range records {
		r := &records[i]
		payload := bytes.Clone(r.Payload)
		p := m.partitions.make(r.Partition)
		opened := p.next
		if err := mustFollow(p, r, payload); err != nil {
			panic(fmt.Sprintf("store: partition %d: %v", r.Partition, err))
		}
		switch r.Kind {
		case entry.RecordFlip:
			m.flip(r.Partition, r.Generation)
		case entry.RecordOpen, entry.RecordDrop:
			delete(m.installed, leftGeneration{r.Partition, opened})
		}
		m.logBytes += uint64(len(payload))
		m.unsynced += uint64(len(payload))
		m.appended++
	}
	m.signal()
	return m.appended
}

func (m *memory) Entries(id ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, ErrClosed
	}
	p := m.partitions.get(id)
	if p == nil || !p.run.holds(from) {
		return nil, errTrimmed(id, p, from)
	}
	var out [][]byte
	for seq := from; seq <= min(to, p.run.last()); seq++ {
		b := *p.run.at(seq)
		if maxBytes -= len(b); maxBytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, bytes.Clone(b))
	}
	return out, nil
}

func errTrimmed[T any](id ring.PartitionID, p *partition[T], seq uint64) error {
	if p == nil {
		return fmt.Errorf("%w: partition %d has no log", ErrTrimmed, id)
	}
	return fmt.Errorf("%w: partition %d: entry %d, held are %d to %d", ErrTrimmed, id, seq, p.run.trim+1, p.run.last())
}

func (m *memory) Apply(batch []Applied) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return ErrClosed
	}
	for _, a := range batch {
		p := m.partitions.make(a.Partition)
		if err := p.mayApply(a.Entry.Seq); err != nil {
			panic(fmt.Sprintf("store: partition %d: %v", a.Partition, err))
		}
		p.noteApplied(a.Entry)
		m.applyOne(a.Partition, a.Entry)
	}
	return nil
}

func (m *memory) applyOne(id ring.PartitionID, e *entry.Entry) {
	keys := m.data[id]
	if keys == nil {
		keys = make(map[string][]byte)
		m.data[id] = keys
	}
	if e.Op == entry.OpNoop {
		return
	}
	if e.Idempotency != nil {
		m.keepAnswer(keys, e)
	}
	key := memoryKey(e.Key)
	if old, ok := keys[string(key)]; ok {
		m.dataBytes -= uint64(len(key) + len(old))
		delete(keys, string(key))
	}
	if e.Op == entry.OpPut {
		value := appendValue(nil, key, e)
		keys[string(key)] = value
		m.dataBytes += uint64(len(key) + len(value))
	}
}

// memoryKey is the item key of a key's value.
func memoryKey(key []byte) []byte { return append([]byte{spaceData}, key...) }

func (m *memory) Get(id ring.PartitionID, key []byte) (Value, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return Value{}, false, ErrClosed
	}
	itemKey := memoryKey(key)
	b, ok := m.data[id][string(itemKey)]
	if !ok {
		return Value{}, false, nil
	}
	var v Value
	if err := decodeValue(itemKey, b, &v); err != nil {
		return Value{}, false, err
	}
	v.Value = bytes.Clone(v.Value)
	return v, true, nil
}

func (m *memory) Head(id ring.PartitionID, key []byte) (Value, int, bool, error) {
	v, ok, err := m.Get(id, key)
	n := len(v.Value)
	v.Value = nil
	return v, n, ok, err
}

func (m *memory) Count(id ring.PartitionID) (Copy, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return Copy{}, ErrClosed
	}
	c := Copy{Partition: id}
	if p := m.partitions.get(id); p != nil {
		p.describe(&c)
	}
	d := newDigest()
	for _, key := range slices.Sorted(maps.Keys(m.data[id])) {
		if key[0] == spaceData {
			d.add([]byte(key[1:]), m.data[id][key])
		}
	}
	c.Keys, c.Digest = d.keys, d.sum()
	return c, nil
}

func (m *memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{
		LogBytes: m.logBytes, DataBytes: m.dataBytes, Syncs: m.syncs, Records: uint64(m.appended),
		Appended: m.appended, Synced: m.synced, Unsynced: m.unsynced,
	}
}

// Full is never true: nothing is on a disk.
func (m *memory) Full() bool { return false }

// Flush forgets the applied entries that no snapshot holds if the log is larger than RetainBytes.
func (m *memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return ErrClosed
	}
	retain := m.options.RetainBytes
	if m.retainMore {
		retain = m.options.RetainMoreBytes
	}
	if m.logBytes <= uint64(retain) {
		return nil
	}
	m.logBytes = 0
	for id, p := range m.partitions {
		if p == nil {
			continue
		}
		p.run.trimTo(min(p.applied, p.run.last(), m.pinned(ring.PartitionID(id))))
		for _, b := range p.run.items {
			m.logBytes += uint64(len(b))
		}
	}
	return nil
}

func (m *memory) Close() error {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.signal()
	<-m.done
	return nil
}
