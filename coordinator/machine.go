package coordinator

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// machine joins state to raft. Where it meets an entry that it cannot apply it stops for good: a coordinator that skipped
// an entry would differ from the others, and hand out what was never decided.
type machine struct {
	feed   *feed
	events *eventFeed

	mu    sync.Mutex // raft applies from one goroutine; others read the times
	state *state

	broken error         // guarded by mu
	fatal  chan struct{} // closed when broken is set
}

var _ raft.BatchingFSM = (*machine)(nil)

func newMachine(f *feed) *machine {
	return &machine{feed: f, events: newEventFeed(), state: newState(), fatal: make(chan struct{})}
}

// Apply is raft's.
func (m *machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch is raft's: it applies entries in order and publishes the table once.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.state.table.Version
	results := make([]any, len(entries))
	for i, entry := range entries {
		results[i] = m.applyOne(entry)
	}
	if m.state.table.Version != before && m.state.restored == nil {
		m.feed.publish(m.state.published())
	}
	if n := len(entries); n > 0 && m.broken == nil {
		m.events.publish(m.state.events, entries[n-1].Index)
	}
	return results
}

func (m *machine) applyOne(entry *raft.Log) result {
	if entry.Type != raft.LogCommand {
		return result{version: m.state.table.Version}
	}
	if m.broken != nil {
		return result{err: m.broken}
	}
	var cmd kringv1.CoordinatorCommand
	if err := proto.Unmarshal(entry.Data, &cmd); err != nil {
		return result{err: m.fail(fmt.Errorf("coordinator: log entry %d: %w", entry.Index, err))}
	}
	r, known := m.state.apply(entry.Index, &cmd)
	if !known {
		return result{err: m.fail(fmt.Errorf("coordinator: log entry %d holds a command that this release does not know: "+
			"start a newer release", entry.Index))}
	}
	return r
}

func (m *machine) fail(err error) error {
	m.broken = err
	close(m.fatal)
	return err
}

// failure is why the machine stopped.
func (m *machine) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}

// Snapshot is raft's.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	return snapshot{m.state.clone()}, nil
}

// Restore is raft's.
func (m *machine) Restore(r io.ReadCloser) error {
	s, err := readState(r)
	if cerr := r.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("coordinator: snapshot: %w", cerr)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	if s.restored == nil { // what may be old is told to nobody
		m.feed.publish(s.published())
	}
	m.events.publish(s.events, s.table.Version)
	return nil
}

// times is a copy of when members and partitions last changed, with the table they belong to.
func (m *machine) times() *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.clone()
}

// memberTimes is a copy of when members last changed their state, in unix milliseconds.
func (m *machine) memberTimes() map[ring.NodeID]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state.memberSince)
}

// control is what people have set and asked for.
func (m *machine) control() control {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.control()
}

// operations is all that are kept, sorted by id. It must not be modified.
func (m *machine) operations() []*kringv1.Operation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.operations.list
}

// knowsStore reports whether a data directory is, or once was, some member's.
func (m *machine) knowsStore(id ring.StoreID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, retired := m.state.retired[id]; retired {
		return true
	}
	return slices.ContainsFunc(m.state.table.Members, func(member ring.Member) bool { return member.Store == id })
}
