package store_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// syncedBuffer is a file to a record.LogWriter.
type syncedBuffer struct{ bytes.Buffer }

func (b *syncedBuffer) Sync() error { return nil }

// TestPebbleRecordMissesDamage is why the log has frames of its own. Pebble's log writer says in each chunk how far the
// log was synced, as ours does, but its reader looks for that from the next block of 32 KiB on: damage to the last block
// passes for a torn tail although later chunks of that block say that it was synced. Should this test fail one day,
// Pebble's framing can be considered again.
func TestPebbleRecordMissesDamage(t *testing.T) {
	var file syncedBuffer
	synced := make(chan int64, 1)
	w := record.NewLogWriter(&file, 1, record.LogWriterConfig{
		WALFsyncLatency:           prometheus.NewHistogram(prometheus.HistogramOpts{}), // without it no offset is kept
		WriteWALSyncOffsets:       func() bool { return true },
		ExternalSyncQueueCallback: func(done record.PendingSyncIndex, _ error) { synced <- done.Index },
	})
	for i := range int64(20) {
		_, err := w.SyncRecordGeneralized(bytes.Repeat([]byte("v"), 200), &record.PendingSyncIndex{Index: i})
		require.NoError(t, err)
		require.Equal(t, i, <-synced) // each record is synced before the next is written
	}
	log := bytes.Clone(file.Bytes()[:20*219])
	require.NoError(t, w.Close())
	log[10*219+100] ^= 1 // in the eleventh record
	r := record.NewReader(bytes.NewReader(log), 1)
	read := 0
	for {
		chunk, err := r.Next()
		if err == nil {
			_, err = io.ReadAll(chunk)
		}
		if err != nil {
			require.ErrorIs(t, err, record.ErrUnexpectedEOF, "and not ErrInvalidChunk")
			break
		}
		read++
	}
	require.Equal(t, 10, read, "ten synced records are gone without a word")
}
