package store

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/kringdb/kring/ring"
)

// memorySnapshot is a copy. All of it is under memory.mu.
type memorySnapshot struct {
	memory    *memory
	partition ring.PartitionID
	seq       uint64
	epoch     ring.Epoch
	hybrid    uint64
	bytes     uint64
	items     []Item
	closed    bool
}

var _ Snapshot = (*memorySnapshot)(nil)

func (m *memory) Snapshot(id ring.PartitionID) (Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, ErrClosed
	}
	s := &memorySnapshot{memory: m, partition: id, bytes: m.size(id)}
	if p := m.partitions.get(id); p != nil {
		s.seq, s.epoch, s.hybrid = p.applied, p.run.epochOf(p.applied), p.hybrid
	}
	for _, space := range itemSpaces {
		for _, key := range slices.Sorted(maps.Keys(m.data[id])) {
			if key[0] == space {
				s.items = append(s.items, Item{Key: []byte(key), Value: bytes.Clone(m.data[id][key])})
			}
		}
	}
	m.snapshots[s] = struct{}{}
	return s, nil
}

func (s *memorySnapshot) Seq() uint64          { return s.seq }
func (s *memorySnapshot) SeqEpoch() ring.Epoch { return s.epoch }
func (s *memorySnapshot) HybridTime() uint64   { return s.hybrid }
func (s *memorySnapshot) Bytes() uint64        { return s.bytes }

func (s *memorySnapshot) Next(dst []Item, maxBytes int) ([]Item, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.closed || s.memory.closing {
		return dst, ErrClosed
	}
	for first := true; len(s.items) > 0; first = false {
		item := s.items[0]
		if maxBytes -= len(item.Key) + len(item.Value); maxBytes < 0 && !first {
			break
		}
		dst, s.items = append(dst, item), s.items[1:]
	}
	return dst, nil
}

func (s *memorySnapshot) Close() error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.closed, s.items = true, nil
	delete(s.memory.snapshots, s)
	return nil
}

// pinned is the seq after which snapshots hold a partition's entries. mu must be held.
func (m *memory) pinned(id ring.PartitionID) uint64 {
	seq := uint64(math.MaxUint64)
	for s := range m.snapshots {
		if s.partition == id {
			seq = min(seq, s.seq)
		}
	}
	return seq
}

func (m *memory) RetainMore(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retainMore = on
}

func (m *memory) Size(id ring.PartitionID) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size(id)
}

func (m *memory) size(id ring.PartitionID) uint64 { return itemBytes(m.data[id]) }

func itemBytes(items map[string][]byte) (bytes uint64) {
	for key, value := range items {
		bytes += uint64(len(key) + len(value))
	}
	return bytes
}

// memoryInstall fills a map that the flip puts in the place of the partition's.
type memoryInstall struct {
	memory *memory
	left   leftGeneration
	order  itemOrder
	ended  error
}

var _ Install = (*memoryInstall)(nil)

func (m *memory) Install(id ring.PartitionID) (Install, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, ErrClosed
	}
	n := &memoryInstall{memory: m, left: leftGeneration{id, m.partitions.make(id).nextGeneration()}}
	m.installed[n.left] = make(map[string][]byte)
	return n, nil
}

func (n *memoryInstall) Generation() uint32 { return n.left.generation }

func (n *memoryInstall) Add(items []Item) error {
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	if err := n.usable(); err != nil {
		return err
	}
	for i := range items {
		_, err := checkItem(&items[i])
		if err == nil {
			err = n.order.follow(&items[i])
		}
		if err != nil {
			n.ended = fmt.Errorf("store: partition %d: item of a snapshot: %w", n.left.partition, err)
			return n.ended
		}
		if into := n.memory.installed[n.left]; into != nil { // not dropped meanwhile
			into[string(items[i].Key)] = bytes.Clone(items[i].Value)
		}
	}
	return nil
}

func (n *memoryInstall) Finish() error {
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	if err := n.usable(); err != nil {
		return err
	}
	n.ended = errFinished
	n.memory.partitions.make(n.left.partition).complete = n.left.generation
	return nil
}

func (n *memoryInstall) usable() error {
	if n.memory.closing {
		return ErrClosed
	}
	return n.ended
}

func (n *memoryInstall) Abort() error {
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	n.ended = errAborted
	n.memory.partitions.make(n.left.partition).giveUp(n.left.generation)
	delete(n.memory.installed, n.left)
	return nil
}

// flip puts what was installed in the place of a partition's data. mu must be held.
func (m *memory) flip(id ring.PartitionID, generation uint32) {
	left := leftGeneration{id, generation}
	m.dataBytes += itemBytes(m.installed[left]) - itemBytes(m.data[id])
	m.data[id] = m.installed[left]
	delete(m.installed, left)
}
