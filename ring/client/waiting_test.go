package client

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// keysOf are n keys whose partitions are led by node.
func keysOf(t *ring.Table, node ring.NodeID, n int) [][]byte {
	var keys [][]byte
	for i := 0; len(keys) < n; i++ {
		key := fmt.Appendf(nil, "key-%d", i)
		if t.Partitions[ring.PartitionOf(key, uint32(len(t.Partitions)))].Primary.Node == node {
			keys = append(keys, key)
		}
	}
	return keys
}

// refusing answers nothing but busy, with a pause that no test waits for unless it fails.
func refusing(*kringv1.Request) (*kringv1.Response, error) {
	return &kringv1.Response{Code: kverr.Busy, Message: "full", RetryAfterMillis: 10_000}, nil
}

func TestRequestsThatWaitForADeadNodeAreBounded(t *testing.T) {
	const places = 6 // and half of them for one node
	dead, alive, weak := startNode(t, "n1", refusing), startNode(t, "n2", echo), startNode(t, "n3", refusing)
	table := tableOf(1, dead, alive, weak)
	c := open(t, Config{MaxWaiting: places, Timeout: time.Hour}, startCoordinator(t, table))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	wait := func(keys [][]byte) {
		for _, key := range keys {
			go func() {
				_, err := c.Get(ctx, key)
				ended <- err
			}()
		}
	}
	settled := func(waiting int) func() bool {
		return func() bool { return c.Stats().Waiting == waiting && c.Stats().InFlight == waiting }
	}

	wait(keysOf(table, "n1", places/2))
	await.Until(t, "half of the places are taken", settled(places/2))
	for i, key := range keysOf(table, "n1", 20) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := c.Put(ctx, key, nil)
		cancel()
		e := requireCode(t, kverr.Busy, err)
		require.GreaterOrEqual(t, e.RetryAfter, 10*time.Second)
		require.Contains(t, e.Message, "full")
		require.EqualValues(t, i+1, c.Stats().WaitRefused)
	}
	require.Equal(t, places/2, c.Stats().InFlight, "nothing else is held up")
	for _, key := range keysOf(table, "n2", 20) {
		_, err := c.Get(t.Context(), key)
		require.NoError(t, err)
	}

	// The other half is for other nodes.
	wait(keysOf(table, "n3", places/2))
	await.Until(t, "all places are taken", settled(places))
	_, err := c.Get(t.Context(), keysOf(table, "n3", 1)[0])
	requireCode(t, kverr.Busy, err)

	cancel()
	for range places {
		requireCode(t, kverr.Canceled, <-ended)
	}
	require.Zero(t, c.Stats().Waiting)
	require.Empty(t, c.waiting.nodes)
}

// TestPlacesAreKeptBetweenAttempts: those that wait first ride a restart out, however many come after them.
func TestPlacesAreKeptBetweenAttempts(t *testing.T) {
	n := startNode(t, "n1", failing(1<<60, kverr.Unavailable))
	table := tableOf(1, n)
	c := open(t, Config{MaxWaiting: 2, Timeout: time.Hour}, startCoordinator(t, table))
	first := make(chan Value, 1)
	go func() {
		v, err := c.Get(context.Background(), []byte("k"))
		if err != nil {
			t.Errorf("the first that waited was refused: %v", err)
		}
		first <- v
	}()
	await.Until(t, "one waits", func() bool { return c.Stats().Waiting == 1 })
	for !t.Failed() && c.Stats().Attempts < c.Stats().WaitRefused+6 { // until the first has come back some times
		_, err := c.Get(t.Context(), []byte("k"))
		requireCode(t, kverr.Unavailable, err)
	}
	n.handle(echo)
	require.Greater(t, (<-first).Attempts, 5)
}

func TestEveryWayOutGivesThePlaceBack(t *testing.T) {
	c, n, _ := cluster(t, Config{}, nil)
	for name, h := range map[string]handler{
		"served": failing(2, kverr.Busy), "unknown": inTurn(answered(kverr.Busy, 0), answered(kverr.OutcomeUnknown, 0), forgottenAnswer), "bad": first(kverr.Busy, kverr.BadRequest),
	} {
		n.handle(h)
		_, err := c.Put(t.Context(), []byte("k"), nil)
		require.Equal(t, name == "served", err == nil, "%s: %v", name, err)
		require.Zero(t, c.Stats().Waiting, name)
	}
	require.Zero(t, c.Stats().WaitRefused)
}

// TestInDoubtWaitsWithoutAPlace: a mutation that may have happened is not given up because others wait already.
func TestInDoubtWaitsWithoutAPlace(t *testing.T) {
	n := startNode(t, "n1", refusing)
	c := open(t, Config{MaxWaiting: 1, Timeout: time.Hour}, startCoordinator(t, tableOf(1, n)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := c.Get(ctx, []byte("k"))
		ended <- err
	}()
	await.Until(t, "one waits", func() bool { return c.Stats().Waiting == 1 })

	n.handle(failing(3, kverr.OutcomeUnknown))
	res, err := c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	require.Equal(t, 4, res.Attempts)
	require.Zero(t, c.Stats().WaitRefused)
	cancel()
	requireCode(t, kverr.Canceled, <-ended)
}

// first answers with these codes in order, the last for good.
func first(codes ...kverr.Code) handler {
	rest := slices.Clone(codes)
	return func(*kringv1.Request) (*kringv1.Response, error) {
		code := rest[0]
		if len(rest) > 1 {
			rest = rest[1:]
		}
		return &kringv1.Response{Code: code, RetryAfterMillis: 1}, nil
	}
}
