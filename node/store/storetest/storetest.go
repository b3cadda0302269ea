// Package storetest is what every store.Store must do, as tests: the one on disk, the same on a file system in memory,
// and the memory twin all run them.
package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// Factory makes stores to be tested.
type Factory struct {
	// Open opens the store named directory, which is empty at first. Whoever opens closes.
	Open func(t *testing.T, directory string, options store.Options) store.Store
	// Durable says that a store that was closed can be opened again with everything in it.
	Durable bool
}

// Run runs the suite.
func Run(t *testing.T, f Factory) {
	for name, test := range map[string]func(*testing.T, Factory){
		"Empty":            testEmpty,
		"Append":           testAppend,
		"Entries":          testEntries,
		"Truncate":         testTruncate,
		"Defects":          testDefects,
		"Jump":             testJump,
		"Apply":            testApply,
		"ApplyMany":        testApplyMany,
		"Count":            testCount,
		"LargeEntries":     testLargeEntries,
		"Snapshot":         testSnapshot,
		"SnapshotPieces":   testSnapshotPieces,
		"SnapshotPins":     testSnapshotPins,
		"SnapshotClosed":   testSnapshotClosed,
		"Install":          testInstall,
		"InstallMalformed": testInstallMalformed,
		"InstallDefects":   testInstallDefects,
		"InstallGivenUp":   testInstallGivenUp,
		"InstallAgain":     testInstallAgain,
		"InstallNothing":   testInstallNothing,
		"ReopenInstalled":  testReopenInstalled,
		"RetainMore":       testRetainMore,
		"Size":             testSize,
		"Concurrent":       testConcurrent,
		"Trim":             testTrim,
		"ClusterID":        testClusterID,
		"Closed":           testClosed,
		"Reopen":           testReopen,
		"ReopenTrimmed":    testReopenTrimmed,
		"Expired":          testExpired,
		"Answers":          testAnswers,
		"ReopenAnswers":    testReopenAnswers,
	} {
		t.Run(name, func(t *testing.T) { test(t, f) })
	}
}

// Small are options under which segments rotate soon.
func Small() store.Options {
	return store.Options{Node: "n1", SegmentBytes: 16 << 10, MemTableBytes: 256 << 10, CacheBytes: 1 << 20}
}

// Handle is a store with what its tests need around it.
type Handle struct {
	store.Store
	t      testing.TB
	mu     sync.Mutex
	cond   *sync.Cond
	synced store.Position
	err    error
	failed int
}

// NewHandle starts s.
func NewHandle(t testing.TB, s store.Store) *Handle {
	h := &Handle{Store: s, t: t}
	h.cond = sync.NewCond(&h.mu)
	s.Start(func(p store.Position, err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case err != nil:
			h.err = err
			h.failed++
		case p > h.synced:
			h.synced = p
		default:
			t.Errorf("position %d reported after %d", p, h.synced)
		}
		h.cond.Broadcast()
	})
	return h
}

// Await returns when p is durable, or with the error that stopped the store.
func (h *Handle) Await(p store.Position) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.synced < p && h.err == nil {
		h.cond.Wait()
	}
	return h.err
}

// Failures is how often the store said that it has stopped.
func (h *Handle) Failures() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// Write appends entries of one partition, waits for the sync and applies them.
func (h *Handle) Write(p ring.PartitionID, entries ...*entry.Entry) {
	h.t.Helper()
	require.NoError(h.t, h.Await(h.Log(p, entries...)))
	h.Commit(p, entries...)
}

// Log appends entries of one partition.
func (h *Handle) Log(p ring.PartitionID, entries ...*entry.Entry) store.Position {
	records := make([]entry.Record, len(entries))
	for i, e := range entries {
		records[i] = Record(p, e)
	}
	return h.Append(records)
}

// Commit applies entries of one partition.
func (h *Handle) Commit(p ring.PartitionID, entries ...*entry.Entry) {
	h.t.Helper()
	batch := make([]store.Applied, len(entries))
	for i, e := range entries {
		batch[i] = store.Applied{Partition: p, Entry: e}
	}
	require.NoError(h.t, h.Apply(batch))
}

// Record is e as a record of partition p.
func Record(p ring.PartitionID, e *entry.Entry) entry.Record {
	return entry.Record{Kind: entry.RecordEntry, Partition: p, Seq: e.Seq, Epoch: e.Epoch, Payload: entry.Encode(nil, e)}
}

// Put is an entry that puts value under key.
func Put(seq uint64, epoch ring.Epoch, key, value string) *entry.Entry {
	return &entry.Entry{
		Seq: seq, Epoch: epoch, HybridTime: seq << 16, Request: entry.RequestID{byte(seq), 1}, Attempt: 1,
		Op: entry.OpPut, Key: []byte(key), Value: []byte(value),
	}
}

// Puts are the entries from..to of one epoch, each under a key of its own.
func Puts(from, to uint64, epoch ring.Epoch) []*entry.Entry {
	var out []*entry.Entry
	for seq := from; seq <= to; seq++ {
		out = append(out, Put(seq, epoch, fmt.Sprintf("key-%d", seq), fmt.Sprintf("value-%d-%v", seq, epoch)))
	}
	return out
}

func open(t *testing.T, f Factory, options store.Options) *Handle {
	t.Helper()
	h := NewHandle(t, f.Open(t, "store", options))
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func encoded(entries []*entry.Entry) [][]byte {
	var out [][]byte
	for _, e := range entries {
		out = append(out, entry.Encode(nil, e))
	}
	return out
}

func requireValue(t *testing.T, s store.Store, p ring.PartitionID, e *entry.Entry) {
	t.Helper()
	v, ok, err := s.Get(p, e.Key)
	require.NoError(t, err)
	require.True(t, ok, "key %q", e.Key)
	require.Equal(t, e.Seq, v.Version)
	require.Equal(t, e.Epoch, v.Epoch)
	require.Equal(t, e.HybridTime, v.HybridTime)
	require.Equal(t, string(e.Value), string(v.Value))
	require.Equal(t, e.Attributes, v.Attributes)
}

func requireAbsent(t *testing.T, s store.Store, p ring.PartitionID, key string) {
	t.Helper()
	_, ok, err := s.Get(p, []byte(key))
	require.NoError(t, err)
	require.False(t, ok, "key %q", key)
}
