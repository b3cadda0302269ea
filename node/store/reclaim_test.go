package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/ring"
)

const (
	crowd      = 16 // partitions that share files
	crowdKeys  = 300
	crowdBytes = crowdKeys << 10 // of each, and a little more
)

// crowded is a store whose partitions are small and share files.
func crowded(t *testing.T, fs vfs.FS) *storetest.Handle {
	s, err := store.New("node", store.Options{FS: fs, SegmentBytes: 1 << 20, RetainBytes: 1, RetainFor: 1, ReserveBytes: 1 << 20, ReclaimAfter: 1})
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	if len(h.Recovered()) > 0 {
		return h
	}
	for seq := uint64(1); seq <= crowdKeys; seq++ {
		for p := range ring.PartitionID(crowd) {
			h.Write(p, storetest.Put(seq, 1, fmt.Sprintf("key %4d", seq), storetest.Noise(seq<<8|uint64(p), 1024)))
		}
	}
	require.NoError(t, h.Flush())
	require.Greater(t, h.Stats().DataBytes, uint64(crowd*crowdBytes))
	return h
}

// emptied turns partitions to empty generations.
func emptied(t *testing.T, h *storetest.Handle, partitions ...ring.PartitionID) {
	t.Helper()
	for _, p := range partitions {
		install, err := h.Install(p)
		require.NoError(t, err)
		require.NoError(t, install.Finish())
		require.NoError(t, h.Await(h.Append([]entry.Record{
			{Kind: entry.RecordOpen, Partition: p, Generation: install.Generation()},
			{Kind: entry.RecordFlip, Partition: p, Generation: install.Generation(), Payload: entry.EncodeFlip(0)},
		})))
	}
}

// shrinks waits until the data takes no more than so many partitions do.
func shrinks(t *testing.T, h *storetest.Handle, to int) {
	t.Helper()
	require.Eventually(t, func() bool { return h.Stats().DataBytes < uint64(to)*crowdBytes*11/10 }, 30*time.Second, 5*time.Millisecond,
		"the data still takes %d bytes", h.Stats().DataBytes)
}

func keysOf(t *testing.T, h *storetest.Handle, p ring.PartitionID) uint64 {
	t.Helper()
	c, err := h.Count(p)
	require.NoError(t, err)
	return c.Keys
}

// TestEmptiedGivesSpaceBack checks that the disk is given back what dropped partitions had, though others share their files and
// nothing more is written, and that those others keep theirs.
func TestEmptiedGivesSpaceBack(t *testing.T) {
	h := crowded(t, vfs.NewMem())
	emptied(t, h, 3)
	require.NoError(t, h.Flush())
	shrinks(t, h, crowd-1)
	emptied(t, h, 0, 2, 4, 5, 6, 8, 10, 12, 15)
	require.NoError(t, h.Flush())
	shrinks(t, h, crowd-10)
	for p := range ring.PartitionID(crowd) {
		keys := keysOf(t, h, p)
		if keys == 0 {
			h.Write(p, storetest.Put(1, 2, "new", "1")) // it begins anew
			keys = keysOf(t, h, p) * crowdKeys
		}
		require.EqualValues(t, crowdKeys, keys, "partition %d", p)
	}
	require.NoError(t, h.Close())
}

// TestReclaimWaitsForSnapshots checks that a snapshot from before shows all of what was dropped, and that its space is given back
// when it is closed.
func TestReclaimWaitsForSnapshots(t *testing.T) {
	h := crowded(t, vfs.NewMem())
	from, err := h.Snapshot(3)
	require.NoError(t, err)
	items, err := from.Next(nil, 10_000)
	require.NoError(t, err)
	emptied(t, h, 3)
	require.NoError(t, h.Flush())
	emptied(t, h, 4)
	require.NoError(t, h.Flush())
	rest := storetest.Items(t, from, 1<<20)
	require.Len(t, append(items, rest...), crowdKeys)
	require.Greater(t, h.Stats().DataBytes, uint64(crowd*crowdBytes), "nothing could be given back yet")
	require.NoError(t, from.Close())
	shrinks(t, h, crowd-2)
	require.NoError(t, h.Close())
}

// TestReclaimGoesOnAfterACrash cuts the power with what was dropped still on the disk, before and after it was deleted.
func TestReclaimGoesOnAfterACrash(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		fs := vfs.NewCrashableMem()
		h := crowded(t, fs)
		hold, err := h.Snapshot(1)
		require.NoError(t, err)
		emptied(t, h, 3, 7)
		if deleted {
			require.NoError(t, h.Flush())
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, hold.Close())
		require.NoError(t, h.Close())
		h = crowded(t, clone)
		require.Zero(t, keysOf(t, h, 3))
		require.EqualValues(t, crowdKeys, keysOf(t, h, 4))
		shrinks(t, h, crowd-2)
		require.NoError(t, h.Close())
	}
}
