package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// A backup is whole, for its owner only, and never written over another.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	require.NoError(t, writeWhole(path, []byte("first")))
	require.ErrorContains(t, writeWhole(path, []byte("second")), "is there already")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "first", string(b))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.Error(t, writeWhole(filepath.Join(dir, "none", "backup"), nil))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left behind")
}

func TestRestoreRefusesWhatIsNoBackup(t *testing.T) {
	dir := t.TempDir()
	path, data := filepath.Join(dir, "backup"), filepath.Join(dir, "c1")
	require.NoError(t, os.WriteFile(path, []byte("no backup"), 0o600))
	code, out, errs := kring("coordinator", "restore", path, "--id", "c1", "--data", data)
	require.Equal(t, exit.Failed, code)
	require.Empty(t, out)
	require.Contains(t, errs, "this is no backup of coordinators")
	require.NoDirExists(t, data)
}

// loneNode is the only node of a cluster with one partition.
type loneNode struct {
	kringv1.UnimplementedRecordsServiceServer
	resp *kringv1.GetRecordsResponse
}

func (n *loneNode) GetRecords(context.Context, *kringv1.GetRecordsRequest) (*kringv1.GetRecordsResponse, error) {
	return n.resp, nil
}

func startLoneNode(t *testing.T) (address string) {
	t.Helper()
	replica := ring.Replica{Node: "n1", Store: 7}
	p := ring.Partition{ID: 0, Epoch: ring.NewEpoch(2, 9), Primary: replica, InSync: []ring.Replica{replica}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	node := &loneNode{resp: &kringv1.GetRecordsResponse{
		ClusterId: "lost", Configurations: []*kringv1.Partition{ringpb.FromPartition(&p)},
		Member:   ringpb.FromMember(&ring.Member{Node: "n1", Store: 7, Boot: 1, Start: 1, Address: l.Addr().String(), Weight: 100}),
		Settings: ringpb.FromSettings(ring.Settings{ClusterID: "lost", Partitions: 1, Replicas: 1, MinInSync: 1}),
	}}
	server := grpc.NewServer(codec.ServerOptions()...)
	kringv1.RegisterRecordsServiceServer(server, node)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// A rebuild says what it found and what nobody knows, and makes nothing before a person has agreed.
func TestRebuildAsks(t *testing.T) {
	data := filepath.Join(t.TempDir(), "c1")
	args := []string{"coordinator", "rebuild", "--id", "c1", "--data", data, "--raft", "127.0.0.1:7101", "--nodes", startLoneNode(t)}
	with := func(answer string, more ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(append(args, more...), strings.NewReader(answer), &out, &errs)
		return code, out.String(), errs.String()
	}
	found := []string{
		"cluster     lost\n", "partitions  1, 1 copies each, 1 needed to write\n", "nodes       n1\n", "answered    n1\n",
		"held by no node", "restored    2 times before\n", "not known   operations", "not known   weights and zones",
	}
	code, out, errs := with("", "--dry-run")
	require.Equal(t, exit.OK, code, errs)
	for _, text := range found {
		require.Contains(t, out, text)
	}
	require.Empty(t, errs)
	code, out, errs = with("n\n")
	require.Equal(t, exit.Failed, code)
	require.Empty(t, out)
	require.Contains(t, errs, "not confirmed: nothing was changed")
	require.NoDirExists(t, data)
	code, out, errs = with("y\n")
	require.Equal(t, exit.OK, code, errs)
	for _, text := range found {
		require.Contains(t, errs, text)
	}
	require.Contains(t, out, "is ready: cluster lost, by the word of n1")
	code, _, errs = with("", "--yes")
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, "is not empty")
}

func TestAcceptMissingAsks(t *testing.T) {
	code, out, errs := kring("coordinator", "accept-missing", "n3")
	require.Equal(t, exit.Failed, code)
	require.Empty(t, out)
	require.Contains(t, errs, "What only n3 knew of is lost")
	require.Contains(t, errs, "not confirmed")
}
