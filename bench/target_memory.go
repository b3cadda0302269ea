package bench

import (
	"context"
	"strconv"
	"sync"

	"github.com/kringdb/kring/proto/kverr"
)

// Memory is a Target that keeps everything in a map: the twin that tests and dry runs use.
type Memory struct {
	mu      sync.RWMutex
	version uint64
	values  map[string]memoryValue
}

type memoryValue struct {
	value   []byte
	version uint64
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{values: make(map[string]memoryValue)} }

// Describe implements Target.
func (m *Memory) Describe() Description {
	return Description{Name: "memory", Guarantee: "one copy, never synced; linearizable"}
}

// Get implements Target.
func (m *Memory) Get(ctx context.Context, key, buffer []byte) (Read, error) {
	if err := ctx.Err(); err != nil {
		return Read{}, kverr.As(err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.values[string(key)]
	if !ok {
		return Read{}, kverr.New(kverr.NotFound, "")
	}
	return Read{Value: append(buffer[:0], v.value...), Version: v.version}, nil
}

// Put implements Target.
func (m *Memory) Put(ctx context.Context, key, value []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, kverr.As(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set(key, value), nil
}

// Delete implements Target.
func (m *Memory) Delete(ctx context.Context, key []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, kverr.As(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[string(key)]; !ok {
		return 0, nil
	}
	delete(m.values, string(key))
	m.version++
	return m.version, nil
}

// CompareAndSwap implements Target.
func (m *Memory) CompareAndSwap(ctx context.Context, key, value []byte, version uint64) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, kverr.As(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if have := m.values[string(key)].version; have != version {
		return 0, &kverr.Error{Code: kverr.PreconditionFailed, Message: "the key is at another version", Version: have}
	}
	return m.set(key, value), nil
}

// Increment implements Incrementer.
func (m *Memory) Increment(ctx context.Context, key []byte, delta int64) (int64, uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, kverr.As(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	number := int64(0)
	if v, ok := m.values[string(key)]; ok {
		var err error
		if number, err = strconv.ParseInt(string(v.value), 10, 64); err != nil {
			return 0, 0, kverr.New(kverr.NotANumber, "the value is not a decimal number of 64 bits")
		}
	}
	number += delta
	return number, m.set(key, strconv.AppendInt(nil, number, 10)), nil
}

// set needs mu.
func (m *Memory) set(key, value []byte) uint64 {
	m.version++
	m.values[string(key)] = memoryValue{value: append([]byte{}, value...), version: m.version}
	return m.version
}

// Close implements Target.
func (m *Memory) Close() error { return nil }
