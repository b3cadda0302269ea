package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// teller is a coordinator that tells events 1 to newest, a few at a time, and then ends the stream as one does that stops.
type teller struct {
	kringv1.UnimplementedOperationsServiceServer
	mu     sync.Mutex
	newest uint64
	asked  []uint64 // after which id
}

func (s *teller) WatchEvents(req *kringv1.WatchEventsRequest, stream grpc.ServerStreamingServer[kringv1.WatchEventsResponse]) error {
	s.mu.Lock()
	at, newest := req.GetAfterId(), s.newest
	s.asked = append(s.asked, at)
	s.mu.Unlock()
	if at == 0 && !req.GetAll() {
		at = newest
	}
	if err := stream.Send(&kringv1.WatchEventsResponse{NewestId: at}); err != nil {
		return err
	}
	for range 3 {
		if at++; at > newest {
			break
		}
		// One that was told already comes again: at another coordinator the same answer may be cut differently.
		resp := &kringv1.WatchEventsResponse{Events: []*kringv1.Event{{Id: at - 1}, {Id: at}}, NewestId: at}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	return kverr.ToGRPC(kverr.New(kverr.Unavailable, "stopping"))
}

func tellers(t *testing.T, n int, newest uint64) ([]*teller, *Coordinators) {
	t.Helper()
	var all []*teller
	var seeds []string
	for range n {
		s := &teller{newest: newest}
		server := grpc.NewServer(codec.ServerOptions()...)
		kringv1.RegisterOperationsServiceServer(server, s)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(l) }() // ends with Stop
		t.Cleanup(func() { server.Stop(); <-done })
		all, seeds = append(all, s), append(seeds, l.Addr().String())
	}
	c, err := NewCoordinators(CoordinatorsConfig{Seeds: StaticSeeds(seeds...)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return all, c
}

func TestWatchEventsGoesOnElsewhere(t *testing.T) {
	servers, c := tellers(t, 2, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []uint64
	enough := errors.New("enough")
	err := c.WatchEvents(ctx, &kringv1.WatchEventsRequest{All: true}, func(resp *kringv1.WatchEventsResponse) error {
		for _, e := range resp.GetEvents() {
			if e.GetId() > 0 {
				got = append(got, e.GetId())
			}
		}
		if len(got) >= 20 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	for i, id := range got {
		require.Equal(t, uint64(i+1), id, "%v", got)
	}
	for _, s := range servers {
		s.mu.Lock()
		require.NotEmpty(t, s.asked, "both were asked")
		s.mu.Unlock()
	}
}

// From now on: the position of the first answer holds, so that what happens before the first event and at another coordinator
// is not missed.
func TestWatchEventsFromNowOn(t *testing.T) {
	servers, c := tellers(t, 1, 7)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	enough := errors.New("enough")
	first := true
	err := c.WatchEvents(ctx, &kringv1.WatchEventsRequest{}, func(resp *kringv1.WatchEventsResponse) error {
		if first {
			require.Empty(t, resp.GetEvents())
			require.EqualValues(t, 7, resp.GetNewestId())
			first = false
			servers[0].mu.Lock()
			servers[0].newest = 8
			servers[0].mu.Unlock()
			return nil
		}
		if len(resp.GetEvents()) == 0 {
			return nil
		}
		require.EqualValues(t, 8, resp.GetEvents()[0].GetId())
		return enough
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, uint64(7), servers[0].asked[1])
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	none, err := NewCoordinators(CoordinatorsConfig{Seeds: StaticSeeds()})
	require.NoError(t, err)
	require.Error(t, none.WatchEvents(ctx, &kringv1.WatchEventsRequest{}, nil))
}
