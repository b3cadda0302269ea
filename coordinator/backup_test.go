package coordinator

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

func TestBackupsThatAreNotWhole(t *testing.T) {
	s := newState()
	s.table = old()
	s.memberSince = sinceThen(s.table, s.table, nil, 1)
	s.partitionChanged, s.partitionShort = make([]int64, 2), make([]int64, 2)
	b, err := encodeBackup(&kringv1.BackupHeader{CoordinatorId: "c1", AppliedIndex: 11}, s)
	require.NoError(t, err)
	header, whole, err := ReadBackup(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, b, whole)
	require.Equal(t, "k", header.GetClusterId())
	require.EqualValues(t, 2, header.GetPartitions())
	_, got, err := decodeBackup(b)
	require.NoError(t, err)
	require.Equal(t, s.table, got.table)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		_, _, err := ReadBackup(bytes.NewReader(bad))
		require.Error(t, err, "byte %d", i)
		_, _, err = ReadBackup(bytes.NewReader(b[:i]))
		require.Error(t, err, "first %d bytes", i)
	}
	_, _, err = ReadBackup(bytes.NewReader(append(b, 0)))
	require.Error(t, err)
}

// A backup may be asked of any coordinator: the leader's state is handed on.
func TestBackupFromAFollower(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.allReady()
	for i := range 3 {
		n := newNode(i + 1)
		_, err := n.register(t, c.processes[0])
		require.NoError(t, err)
		n.beat(t, c)
	}
	c.formed()
	l := &lossy{cluster: c}
	for _, p := range c.processes {
		await.Until(t, "a backup of "+p.id, func() bool {
			b, err := l.backupFrom(p)
			if err != nil {
				require.True(t, kverr.Retryable(kverr.CodeOf(kverr.FromGRPC(err))), err) // the lead is on its way
				return false
			}
			header, s, err := decodeBackup(b)
			require.NoError(t, err)
			require.True(t, s.table.Formed())
			require.Equal(t, s.table.Version, header.GetTableVersion())
			return header.GetCoordinatorId() == c.leader().id
		})
	}
}

// What has not formed is neither backed up nor restored: with no nodes to ask, it would be laid out anew over the nodes' data.
func TestNoBackupOfWhatHasNotFormed(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.allReady()
	stream, err := c.leader().masters().Backup(timeout(t), &kringv1.BackupRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, kverr.Conflict, kverr.CodeOf(kverr.FromGRPC(err)))
	b, err := encodeBackup(&kringv1.BackupHeader{}, newState())
	require.NoError(t, err)
	config := RestoreConfig{ID: "c7", DataDir: filepath.Join(t.TempDir(), "c7"), RaftAdvertise: "127.0.0.1:1"}
	_, err = Restore(config, bytes.NewReader(b))
	require.ErrorContains(t, err, "had not formed")
	require.NoDirExists(t, config.DataDir)
}
