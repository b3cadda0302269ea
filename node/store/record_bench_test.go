package store_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// recordLog is the least that can be made of Pebble's record.LogWriter: it has no index, no rotation and no reader.
type recordLog struct {
	store.Store
	writer   *record.LogWriter
	onSynced func(store.Position, error)
	position store.Position
	scratch  []byte
}

func (l *recordLog) Start(onSynced func(store.Position, error)) { l.onSynced = onSynced }

func (l *recordLog) Append(records []entry.Record) store.Position {
	for i := range records {
		r := &records[i]
		l.scratch = append(append(l.scratch[:0], byte(r.Kind)), make([]byte, 20)...)
		l.scratch = append(l.scratch, r.Payload...)
		l.position++
		// The load's lock is held: one caller at a time.
		if _, err := l.writer.SyncRecordGeneralized(l.scratch, &record.PendingSyncIndex{Index: int64(l.position)}); err != nil {
			panic(err)
		}
	}
	return l.position
}

// BenchmarkPebbleRecord is BenchmarkSyncedAppend's load on Pebble's own log writer, in a file written in advance.
func BenchmarkPebbleRecord(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			name := b.TempDir() + "/log"
			f, err := vfs.Default.Create(name, vfs.WriteCategoryUnspecified)
			require.NoError(b, err)
			zeros := make([]byte, 1<<20)
			for range 256 {
				_, err = f.Write(zeros)
				require.NoError(b, err)
			}
			require.NoError(b, f.Sync())
			require.NoError(b, f.Close())
			f, err = vfs.Default.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
			require.NoError(b, err)
			l := &recordLog{}
			l.writer = record.NewLogWriter(vfs.NewSyncingFile(f, vfs.SyncingFileOptions{}), 1, record.LogWriterConfig{
				WALFsyncLatency:     prometheus.NewHistogram(prometheus.HistogramOpts{}),
				WriteWALSyncOffsets: func() bool { return true },
				ExternalSyncQueueCallback: func(done record.PendingSyncIndex, err error) {
					l.onSynced(store.Position(done.Index), err)
				},
			})
			load := storetest.NewLoad(l, writers, 128)
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, load.Append(b.N))
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			require.NoError(b, l.writer.Close())
		})
	}
}
