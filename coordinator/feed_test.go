package coordinator

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// A watcher that has missed any number of changes comes to the newest table by one merged change, or is told to take it
// whole.
func TestFeedMergesWhatAWatcherMissed(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := formedScribe(t)
		f := newFeed()
		f.publish(s.state.published())
		seen := []*ring.Table{s.state.table}
		for range 150 {
			for range 1 + r.IntN(3) {
				s.index++
				s.state.apply(s.index, randomCommand(r, s.state.table)) // refusals are part of the mix
				seen = append(seen, s.state.published())
			}
			if s.state.table.Version == f.table().Version {
				continue
			}
			f.publish(s.state.table)
			old := seen[r.IntN(len(seen))]
			if old.Version == f.table().Version {
				continue
			}
			change, ok := f.since(old.Version)
			require.True(t, ok)
			got, err := ring.Apply(old, change)
			require.NoError(t, err)
			require.Equal(t, f.table(), got)
		}
	}
}

func TestFeedForgets(t *testing.T) {
	f := newFeed()
	table := &ring.Table{Version: 1, Settings: ring.Settings{ClusterID: "k", Partitions: 1}}
	f.publish(table)
	_, ok := f.since(0)
	require.False(t, ok, "settings do not travel in changes")
	for v := uint64(2); v < 3*maxHistory; v++ {
		table = table.WithMember(v, ring.Member{Node: "n1", Boot: v})
		f.publish(table)
		require.LessOrEqual(t, len(f.history), maxHistory)
	}
	_, ok = f.since(5)
	require.False(t, ok)
	change, ok := f.since(table.Version - 3)
	require.True(t, ok)
	require.Len(t, change.Members, 1)
	_, ok = f.since(table.Version + 1)
	require.False(t, ok)
}

func TestFeedBoundsItems(t *testing.T) {
	f := newFeed()
	table := &ring.Table{Version: 1, Settings: ring.Settings{ClusterID: "k", Partitions: ring.MaxPartitions},
		Partitions: make([]ring.Partition, ring.MaxPartitions)}
	f.publish(table)
	for v := uint64(2); v < 12; v++ {
		next := make([]ring.Partition, len(table.Partitions))
		for i := range next {
			next[i] = ring.Partition{ID: ring.PartitionID(i), Epoch: ring.Epoch(v)}
		}
		table = table.WithPartitions(v, next...)
		f.publish(table)
		require.LessOrEqual(t, f.items, maxHistoryItems)
	}
}
