package coordinator

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

func someEvents(from, to uint64) []*kringv1.Event {
	var out []*kringv1.Event
	for id := from; id <= to; id++ {
		out = append(out, &kringv1.Event{Id: id << eventIDBits})
	}
	return out
}

func TestEventFeed(t *testing.T) {
	f := newEventFeed()
	_, _, _, changed := f.after(0)
	f.publish(someEvents(1, 600), 700)
	<-changed
	require.Equal(t, uint64(700<<8|255), f.position())
	events, lost, newest, changed := f.after(100 << 8)
	require.Len(t, events, maxEventsSent)
	require.Equal(t, []uint64{101 << 8, 356 << 8}, []uint64{events[0].GetId(), newest})
	require.False(t, lost)
	events, _, newest, _ = f.after(500 << 8)
	require.Len(t, events, 100)
	require.Equal(t, f.position(), newest, "all of them: what follows comes after the position")
	events, _, newest, _ = f.after(900 << 8)
	require.Empty(t, events)
	require.Equal(t, uint64(900<<8), newest, "never back")
	f.publish(someEvents(1, 600), 700)
	select {
	case <-changed:
		require.Fail(t, "nothing has changed")
	default:
	}
	f.publish(someEvents(601, 601+maxEvents-1), 9000)
	<-changed
	_, lost, _, _ = f.after(599 << 8)
	require.True(t, lost)
	_, lost, _, _ = f.after(601 << 8)
	require.False(t, lost)
}

func (p *process) watchEvents(ctx context.Context, req *kringv1.WatchEventsRequest) grpc.ServerStreamingClient[kringv1.WatchEventsResponse] {
	p.t.Helper()
	stream, err := kringv1.NewOperationsServiceClient(p.conn).WatchEvents(ctx, req)
	require.NoError(p.t, err)
	return stream
}

// Every coordinator tells the same events, and who follows one goes on at another when that dies, without loss or repeat.
func TestEventsOverAFailover(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.form(3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seeds []string
	for _, p := range c.processes {
		seeds = append(seeds, p.grpc)
	}
	follower, err := client.NewCoordinators(client.CoordinatorsConfig{Seeds: client.StaticSeeds(seeds...), Logger: testLogger("client")})
	require.NoError(t, err)
	defer func() { require.NoError(t, follower.Close()) }()
	got, done := make(chan *kringv1.Event, 100), make(chan error, 1)
	first := make(chan struct{}, 1)
	go func() {
		done <- follower.WatchEvents(ctx, &kringv1.WatchEventsRequest{}, func(resp *kringv1.WatchEventsResponse) error {
			select {
			case first <- struct{}{}:
			default:
			}
			for _, e := range resp.GetEvents() {
				got <- e
			}
			return nil
		})
	}()
	<-first
	_, err = newNode(7).register(t, c.leader())
	require.NoError(t, err)
	require.Equal(t, "join of n7: began", (<-got).GetText())
	require.Equal(t, "n7 has joined, at "+newNode(7).member.GetAddress(), (<-got).GetText())
	for _, p := range c.processes {
		p.stop() // one after the other: each was followed or led at some time
		p.start()
		p.dial()
		c.allReady()
	}
	_, err = newNode(8).register(t, c.leader())
	require.NoError(t, err)
	require.Equal(t, "join of n8: began", (<-got).GetText(), "once, and nothing else happened")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	all := map[string][]uint64{}
	for _, p := range c.processes {
		await.Until(t, p.id+" knows all events", func() bool {
			resp, err := p.watchEvents(timeout(t), &kringv1.WatchEventsRequest{All: true}).Recv()
			require.NoError(t, err)
			all[p.id] = nil
			last := ""
			for _, e := range resp.GetEvents() {
				all[p.id] = append(all[p.id], e.GetId())
				last = e.GetText()
			}
			return last == "n8 has joined, at "+newNode(8).member.GetAddress()
		})
	}
	require.Equal(t, all["c1"], all["c2"])
	require.Equal(t, all["c1"], all["c3"])

	// An id of the future: the leader knows that there is no such thing, a follower may be behind.
	resp, err := c.leader().watchEvents(timeout(t), &kringv1.WatchEventsRequest{AfterId: 1 << 60}).Recv()
	require.NoError(t, err)
	require.True(t, resp.GetLost())
	require.NotEmpty(t, resp.GetEvents())
	_, err = c.followers()[0].watchEvents(timeout(t), &kringv1.WatchEventsRequest{AfterId: 1 << 60}).Recv()
	code(t, kverr.Unavailable, kverr.FromGRPC(err))
}
