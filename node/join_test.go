package node

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// cutOff hands calls on to the master, and knows no table but the first.
type cutOff struct {
	*master
	first   *ring.Table
	watches atomic.Int64
}

func (c *cutOff) WatchRing(_ *kringv1.WatchRingRequest, stream grpc.ServerStreamingServer[kringv1.WatchRingResponse]) error {
	c.watches.Add(1)
	err := stream.Send(&kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Table{Table: ringpb.FromTable(c.first)}})
	if err == nil {
		<-stream.Context().Done()
	}
	return err
}

// A node that happens to follow a coordinator that is cut off never sees its own registration there, and looks elsewhere.
func TestJoinBesideACoordinatorThatIsCutOff(t *testing.T) {
	m := newMaster(t, ring.Settings{Partitions: 16, Replicas: 1, MinInSync: 1}, 1)
	stale := &cutOff{master: m, first: m.table}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(codec.ServerOptions()...)
	kringv1.RegisterCoordinatorServiceServer(server, stale)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		require.NoError(t, <-served)
	}()

	disk, err := store.New(t.TempDir(), store.Options{Node: "n1"})
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.ID, cfg.Store, cfg.Logger = "n1", disk, slog.New(slog.DiscardHandler)
	cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg.Seeds = func() []string {
		if stale.watches.Load() == 0 {
			return []string{listener.Addr().String()}
		}
		return []string{listener.Addr().String(), m.address}
	}
	n, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	await.Until(t, "it holds a table that knows it", n.Ready)
	require.Positive(t, stale.watches.Load())
	cancel()
	require.NoError(t, <-ran)
	require.NoError(t, disk.Close())
}

// The settings travel with the partitions, so a change of theirs alone has to bring all of them.
func TestChangedSettingsAreToldWithAllPartitions(t *testing.T) {
	old := &ring.Table{
		Settings:   ring.Settings{Partitions: 2, Replicas: 3, MinInSync: 2},
		Partitions: []ring.Partition{{ID: 0, Epoch: 4}, {ID: 1, Epoch: 9}},
	}
	next := *old
	next.Partitions = []ring.Partition{{ID: 0, Epoch: 4}, {ID: 1, Epoch: 10}}
	require.Equal(t, next.Partitions[1:], changedPartitions(old, &next))
	next.Settings.MinInSync = 1
	require.Equal(t, next.Partitions, changedPartitions(old, &next))
}
