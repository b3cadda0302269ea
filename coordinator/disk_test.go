package coordinator

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func TestDiskGuardsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	require.True(t, d.fresh)
	_, err = openDisk(dir, "c1", testLogger("c1"))
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, d.close())
	_, err = openDisk(dir, "c2", testLogger("c2"))
	require.ErrorContains(t, err, `data directory of coordinator "c1"`)
	d, err = openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	require.True(t, d.fresh)
	require.NoError(t, d.close())
}

// Bootstrapping writes the term, then the first entry. A death between the two leaves a disk that is fresh still.
func TestDiskMendsACutBootstrap(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	require.NoError(t, d.log.SetUint64([]byte(currentTermEntry), firstTerm))
	require.NoError(t, d.close())

	d, err = openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	require.True(t, d.fresh)
	used, err := raft.HasExistingState(d.log, d.log, d.snapshots)
	require.NoError(t, err)
	require.False(t, used, "raft would refuse to bootstrap")
	require.NoError(t, d.log.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogNoop}))
	require.NoError(t, d.close())

	d, err = openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	require.False(t, d.fresh)
	require.NoError(t, d.close())
}

// A coordinator that led without a majority has entries that the others replace. Their segment must be readable afterwards
// (raft-wal 0.4.0 left it without its index: the coordinator could not start any more).
func TestDiskIsReadableAfterEntriesWereReplaced(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	const last, kept = 9, 6
	for i := uint64(1); i <= last; i++ {
		require.NoError(t, d.log.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogNoop}))
	}
	require.NoError(t, d.log.DeleteRange(kept+1, last))
	require.NoError(t, d.close())

	d, err = openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	for i := uint64(kept + 1); i <= last; i++ {
		require.NoError(t, d.log.StoreLog(&raft.Log{Index: i, Term: 2, Type: raft.LogNoop}))
	}
	require.NoError(t, d.close())
	d, err = openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	for i := uint64(1); i <= last; i++ {
		var entry raft.Log
		require.NoError(t, d.log.GetLog(i, &entry))
		require.Equal(t, i > kept, entry.Term == 2, "entry %d of term %d", i, entry.Term)
	}
	require.NoError(t, d.close())
}

func TestDiskTellsADamagedLog(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir, "c1", testLogger("c1"))
	require.NoError(t, err)
	const entries, bytes = 8, 1 << 20 // two segments: a closed one is not read when the log is opened
	for i := uint64(1); i <= entries; i++ {
		require.NoError(t, d.log.StoreLog(&raft.Log{Index: i, Term: 1, Data: make([]byte, bytes)}))
	}
	require.NoError(t, d.close())
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
	require.NoError(t, err)
	slices.Sort(segments)
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 2*bytes), bytes)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = openDisk(dir, "c1", testLogger("c1"))
	require.ErrorContains(t, err, "is damaged")
	require.ErrorContains(t, err, "move the directory away")
}

func TestStreamRefusesStrangers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := newStream(l, l.Addr().String(), "mine")
	defer func() { require.NoError(t, server.Close()) }()
	for cluster, welcome := range map[string]bool{"mine": true, "other": false, "mine too": false} {
		other, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		dialer := newStream(other, other.Addr().String(), cluster)
		conn, err := dialer.Dial(raft.ServerAddress(l.Addr().String()), time.Second)
		require.NoError(t, err)
		_, err = conn.Write([]byte("hello to you all"))
		require.NoError(t, err)
		accepted, err := server.Accept()
		require.NoError(t, err)
		buffer := make([]byte, 16)
		n, err := accepted.Read(buffer)
		if welcome {
			require.NoError(t, err)
			require.Equal(t, "hello to you all", string(buffer[:n]))
		} else {
			require.ErrorContains(t, err, "no coordinator of this cluster")
		}
		require.NoError(t, accepted.Close())
		require.NoError(t, dialer.Close())
	}
}
