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

// TestJumpThenCrash crashes after a jump, with what was applied before it flushed, in part, or not at all: the data is found whole,
// and the log goes on above the jump. So it is once more, though the first start flushed nothing.
func TestJumpThenCrash(t *testing.T) {
	for _, flushed := range []uint64{0, 3, 6} {
		t.Run(fmt.Sprint(flushed), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			options := storetest.Small()
			options.FlushEvery = time.Hour
			reopen := func() (store.Store, *storetest.Handle) {
				fs = fs.CrashClone(vfs.CrashCloneCfg{})
				options.FS = fs
				s, err := store.New("node", options)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				return s, storetest.NewHandle(t, s)
			}
			options.FS = fs
			s, err := store.New("node", options)
			require.NoError(t, err)
			first := s
			t.Cleanup(func() { require.NoError(t, first.Close()) })
			h := storetest.NewHandle(t, s)
			for _, e := range storetest.Puts(1, 6, 1) {
				h.Write(5, e)
				if e.Seq == flushed {
					require.NoError(t, s.Flush())
				}
			}
			want, err := s.Count(5)
			require.NoError(t, err)
			const floor = 1 << 40
			require.NoError(t, h.Await(h.Append([]entry.Record{storetest.Jump(5, 6, floor, 2)})))
			want.Applied, want.Last, want.LastEpoch = floor, floor, 2
			for range 2 {
				s, h = reopen()
				got, err := s.Count(5)
				require.NoError(t, err)
				require.Equal(t, want, got)
				require.EqualValues(t, floor, s.Recovered()[0].Trim)
			}
			h.Write(5, storetest.Puts(floor+1, floor+1, 2)...)
			require.NoError(t, s.Flush())
			s, _ = reopen()
			require.EqualValues(t, floor+1, s.Recovered()[0].Last)
			got, err := s.Count(5)
			require.NoError(t, err)
			require.EqualValues(t, want.Keys+1, got.Keys)
		})
	}
}

// TestJumpLeavesNothingFromBefore: what was void already when a partition jumped, and lies above where it jumped to, stays void, though
// the log still holds it and the flush that came between knows of the jump and no more of the truncation.
func TestJumpLeavesNothingFromBefore(t *testing.T) {
	for _, epoch := range []ring.Epoch{1, 2} {
		t.Run(epoch.String(), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			options := storetest.Small()
			options.FlushEvery = time.Hour
			reopen := func() (store.Store, *storetest.Handle) {
				fs = fs.CrashClone(vfs.CrashCloneCfg{})
				options.FS = fs
				s, err := store.New("node", options)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				return s, storetest.NewHandle(t, s)
			}
			options.FS = fs
			s, err := store.New("node", options)
			require.NoError(t, err)
			first := s
			t.Cleanup(func() { require.NoError(t, first.Close()) })
			h := storetest.NewHandle(t, s)
			h.Write(5, storetest.Puts(1, 3, 1)...)
			h.Log(5, storetest.Puts(4, 9, 1)...)
			h.Append([]entry.Record{{Kind: entry.RecordTruncate, Partition: 5, Seq: 3, Epoch: 1}})
			const to = 6 // among what is void
			require.NoError(t, h.Await(h.Append([]entry.Record{storetest.Jump(5, 3, to, epoch)})))
			require.NoError(t, s.Flush())
			s, h = reopen()
			require.EqualValues(t, to, s.Recovered()[0].Last)
			h.Write(5, storetest.Puts(to+1, to+1, epoch)...)
			s, _ = reopen()
			require.EqualValues(t, to+1, s.Recovered()[0].Last)
		})
	}
}
