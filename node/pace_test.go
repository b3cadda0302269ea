package node

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const mib = 1 << 20

// takes sends bytes in chunks as a snapshot does, and returns how long the pace made it wait.
func takes(t *testing.T, p *pacer, id ring.PartitionID, bytes int) time.Duration {
	t.Helper()
	begun := time.Now()
	for ; bytes > 0; bytes -= chunkBytes {
		require.NoError(t, p.wait(t.Context(), id, min(bytes, chunkBytes), time.Minute, nil))
	}
	return time.Since(begun)
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer()
		require.Zero(t, takes(t, p, 1, 1<<30), "no limit before anybody named one")
		require.True(t, p.tell(&kringv1.TransferLimits{BytesPerSecond: 10 * mib, RepairBytesPerSecond: 40 * mib, Repairs: []uint32{7}}))
		require.False(t, p.tell(&kringv1.TransferLimits{BytesPerSecond: 10 * mib, RepairBytesPerSecond: 40 * mib, Repairs: []uint32{7}}))
		require.False(t, p.tell(nil), "as before")
		require.InDelta(t, 10, takes(t, p, 1, 100*mib).Seconds(), 0.2)
		require.InDelta(t, 10, takes(t, p, 7, 400*mib).Seconds(), 0.2, "a bucket of its own")
		<-time.After(time.Hour)
		require.InDelta(t, 10, takes(t, p, 1, 100*mib).Seconds(), 0.2, "a pause saves up no more than a tenth of a second")

		p.tell(&kringv1.TransferLimits{BytesPerSecond: mib})
		begun := time.Now()
		require.NoError(t, p.wait(t.Context(), 1, 16*mib, time.Minute, nil))
		require.Less(t, time.Since(begun), time.Second, "nothing is too large to be sent")
		require.InDelta(t, 16, takes(t, p, 1, 1).Seconds(), 1, "but paid for afterwards")
	})
}

// TestPaceChangesAtOnce: who waits under one limit goes by the next as soon as it is told.
func TestPaceChangesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, better := range map[string]*kringv1.TransferLimits{
			"faster":      {BytesPerSecond: 100 * mib},
			"no limit":    {},
			"as a repair": {BytesPerSecond: 1, RepairBytesPerSecond: 1, Repairs: []uint32{3}},
		} {
			p := newPacer()
			p.tell(&kringv1.TransferLimits{BytesPerSecond: 1, RepairBytesPerSecond: 1})
			require.NoError(t, p.wait(t.Context(), 3, 2*chunkBytes, time.Minute, nil)) // which overdraws its bucket
			var done atomic.Bool
			go func() {
				takes(t, p, 3, 1)
				done.Store(true)
			}()
			<-time.After(time.Second)
			synctest.Wait()
			require.False(t, done.Load(), name)
			p.tell(better)
			<-time.After(3 * time.Millisecond) // at 100 MiB/s the rest of what is owed takes 2.5 ms
			synctest.Wait()
			require.True(t, done.Load(), name)
		}
	})
}

// Who waits for long says that it lives, and ends with its joiner.
func TestPaceOfTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer()
		p.tell(&kringv1.TransferLimits{BytesPerSecond: mib})
		require.NoError(t, p.wait(t.Context(), 1, 16*mib, time.Minute, nil))
		alive := 0
		require.NoError(t, p.wait(t.Context(), 1, 16*mib, transferAlive, func() error { alive++; return nil }))
		require.NoError(t, p.wait(t.Context(), 1, 1, transferAlive, func() error { alive++; return nil }))
		require.InDelta(t, 2*3, alive, 1)

		require.NoError(t, p.wait(t.Context(), 1, 64*mib, time.Minute, nil))
		gone := kverr.New(kverr.Canceled, "gone")
		require.ErrorIs(t, p.wait(t.Context(), 1, 1, transferAlive, func() error { return gone }), gone)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, kverr.Canceled, kverr.CodeOf(p.wait(ctx, 1, 1, time.Minute, nil)))
	})
}

func TestPlacesForSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer()
		var leave []func()
		for range defaultTransfers {
			release, err := p.place(t.Context())
			require.NoError(t, err)
			leave = append(leave, release)
		}
		begun := time.Now()
		_, err := p.place(t.Context())
		require.Equal(t, kverr.Busy, kverr.CodeOf(err))
		require.Equal(t, placePatience, time.Since(begun))

		got := make(chan time.Duration, 2)
		wait := func() {
			begun := time.Now()
			_, err := p.place(t.Context())
			got <- time.Since(begun)
			require.NoError(t, err)
		}
		go wait()
		<-time.After(placePatience / 2)
		leave[0]()
		require.Equal(t, placePatience/2, <-got, "the next at once")
		go wait()
		<-time.After(placePatience / 2)
		p.tell(&kringv1.TransferLimits{Transfers: defaultTransfers + 1})
		require.Equal(t, placePatience/2, <-got, "more places, at once")
		require.Equal(t, defaultTransfers+1, p.atOnce())
		p.tell(&kringv1.TransferLimits{Transfers: 1})
		leave[1]()
		_, err = p.place(t.Context())
		require.Equal(t, kverr.Busy, kverr.CodeOf(err), "two are being sent, which is one too many already")
		p.tell(&kringv1.TransferLimits{})
		require.Equal(t, defaultTransfers, p.atOnce())
	})
}

// What a link holds back is due again when its bucket is, or when limits change.
func TestPaceOfLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer()
		l := &linkPace{pacer: p}
		require.True(t, l.MaySend(1))
		l.Sent(1, 100*mib)
		p.tell(&kringv1.TransferLimits{BytesPerSecond: mib, RepairBytesPerSecond: mib, Repairs: []uint32{2}})
		require.True(t, l.MaySend(1))
		l.Sent(1, 10*mib)
		require.False(t, l.MaySend(1))
		require.True(t, l.MaySend(2))
		require.InDelta(t, 10, l.hold.Seconds(), 0.5)
		l.Sent(2, 2*mib)
		require.False(t, l.MaySend(2))
		require.InDelta(t, 2, l.hold.Seconds(), 0.5, "the first of them")
		<-time.After(l.hold)
		require.True(t, l.MaySend(2))
		select {
		case <-l.changed:
			t.Fatal("nothing has changed")
		default:
		}
		changed := l.changed
		l.reset()
		require.Zero(t, l.hold)
		p.tell(&kringv1.TransferLimits{BytesPerSecond: 50 * mib})
		<-changed
	})
}
