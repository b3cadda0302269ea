package client

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// requireCode fails unless err carries code, and returns it.
func requireCode(t testing.TB, code kverr.Code, err error) kverr.Error {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kverr.Name(code), kverr.Name(kverr.CodeOf(err)), "%v", err)
	return *kverr.As(err)
}

// recorded is a handler that passes requests on to the test before it lets next answer.
func recorded(next handler) (handler, <-chan *kringv1.Request) {
	seen := make(chan *kringv1.Request, 1024)
	return func(r *kringv1.Request) (*kringv1.Response, error) {
		seen <- r
		return next(r)
	}, seen
}

// silent never answers.
func silent(*kringv1.Request) (*kringv1.Response, error) { return nil, nil }

func TestRequestsCarryWhatWasAsked(t *testing.T) {
	h, seen := recorded(func(r *kringv1.Request) (*kringv1.Response, error) {
		switch r.GetOp() {
		case kringv1.Op_OP_GET:
			return &kringv1.Response{Version: 9, Value: []byte("v"), Attributes: &kringv1.Attributes{
				ContentType: "text/plain", Metadata: map[string]string{"a": "b"}, ExpiresUnixMillis: 5000,
			}}, nil
		case kringv1.Op_OP_HEAD:
			return &kringv1.Response{Version: 9, ValueBytes: 77}, nil
		}
		return &kringv1.Response{Version: 10, Existed: true}, nil
	})
	c, _, _ := cluster(t, Config{}, h)
	key := []byte("a//b\x00")

	v, err := c.Get(t.Context(), key)
	require.NoError(t, err)
	r := <-seen
	require.Equal(t, key, r.GetKey())
	require.Equal(t, uint32(ring.PartitionOf(key, 16)), r.GetPartition())
	require.EqualValues(t, 1, r.GetEpoch())
	require.Empty(t, r.GetRequestId())
	require.InDelta(t, DefaultTimeout.Milliseconds(), r.GetTimeoutMillis(), 1000)
	require.Equal(t, Value{
		Result: Result{Version: 9, Partition: ring.PartitionOf(key, 16), Epoch: 1, Node: "n1", Attempts: 1},
		Value:  []byte("v"), Size: 1,
		Attributes: Attributes{ContentType: "text/plain", Metadata: map[string]string{"a": "b"}, Expires: time.UnixMilli(5000)},
	}, v)

	v, err = c.Head(t.Context(), key)
	require.NoError(t, err)
	require.EqualValues(t, 77, v.Size)
	require.Nil(t, v.Value)
	<-seen

	res, err := c.Put(t.Context(), key, []byte("value"), IfVersion(3), WantExisted(),
		WithAttributes(Attributes{ContentEncoding: "gzip", Expires: time.UnixMilli(9000)}))
	require.NoError(t, err)
	require.True(t, res.Existed)
	require.EqualValues(t, 10, res.Version)
	first := <-seen
	require.Equal(t, []byte("value"), first.GetValue())
	require.Equal(t, []uint64{3}, first.GetCondition().GetIfVersions())
	require.True(t, first.GetWantExisted())
	require.Equal(t, "gzip", first.GetAttributes().GetContentEncoding())
	require.EqualValues(t, 9000, first.GetAttributes().GetExpiresUnixMillis())
	require.Len(t, first.GetRequestId(), 16)
	require.EqualValues(t, 1, first.GetAttempt())

	_, err = c.Delete(t.Context(), key, IfVersion(0))
	require.NoError(t, err)
	second := <-seen
	require.True(t, second.GetCondition().GetIfAbsent())
	require.NotEqual(t, first.GetRequestId(), second.GetRequestId())
	require.Equal(t, first.GetRequestId()[:8], second.GetRequestId()[:8])
	require.Nil(t, second.GetAttributes())
}

func TestKeysAndValuesAreCheckedBeforeAnythingIsSent(t *testing.T) {
	c, n, _ := cluster(t, Config{}, echo)
	_, err := c.Get(t.Context(), nil)
	requireCode(t, kverr.BadRequest, err)
	_, err = c.Delete(t.Context(), make([]byte, ring.MaxKeyBytes+1))
	requireCode(t, kverr.KeyTooLong, err)
	_, err = c.Put(t.Context(), []byte("k"), make([]byte, MaxValueBytes+1))
	requireCode(t, kverr.ValueTooLarge, err)
	require.Zero(t, n.streams.Load())

	_, err = c.Get(t.Context(), bytes.Repeat([]byte{0xff}, ring.MaxKeyBytes))
	require.NoError(t, err)
}

func TestErrorsOfTheNodeReachTheCaller(t *testing.T) {
	c, n, _ := cluster(t, Config{}, func(*kringv1.Request) (*kringv1.Response, error) {
		return &kringv1.Response{Code: kverr.PreconditionFailed, Message: "no", Version: 4, Existed: true}, nil
	})
	res, err := c.Put(t.Context(), []byte("k"), nil, IfVersion(3))
	e := requireCode(t, kverr.PreconditionFailed, err)
	require.EqualValues(t, 4, e.Version)
	require.True(t, res.Existed)
	require.Equal(t, ring.NodeID("n1"), res.Node)

	for _, code := range []kverr.Code{kverr.NotFound, kverr.DiskFull, kverr.Corrupt, kverr.Internal, kverr.Deadline} {
		n.handle(func(*kringv1.Request) (*kringv1.Response, error) { return &kringv1.Response{Code: code}, nil })
		v, err := c.Get(t.Context(), []byte("k"))
		requireCode(t, code, err)
		require.Equal(t, 1, v.Attempts)
	}
}

func TestLargeValuesTravelApart(t *testing.T) {
	c, n, _ := cluster(t, Config{LargeValue: 100}, echo)
	_, err := c.Put(t.Context(), []byte("k"), make([]byte, 99))
	require.NoError(t, err)
	require.EqualValues(t, 1, n.streams.Load())
	_, err = c.Put(t.Context(), []byte("k"), make([]byte, 100))
	require.NoError(t, err)
	require.EqualValues(t, 2, n.streams.Load())

	_, err = c.Put(t.Context(), []byte("k"), make([]byte, MaxValueBytes))
	require.NoError(t, err, "the largest value passes every limit on the way")
}

func TestUnaryAnswersAsTheStreamDoes(t *testing.T) {
	c, n, _ := cluster(t, Config{}, echo)
	v, err := c.Get(t.Context(), []byte("key"), Unary())
	require.NoError(t, err)
	require.Equal(t, "key", string(v.Value))
	require.Zero(t, n.streams.Load())
	n.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Put(ctx, []byte("key"), nil, Unary())
	requireCode(t, kverr.OutcomeUnknown, err)
}

func TestClosedClientRefuses(t *testing.T) {
	c, _, _ := cluster(t, Config{}, echo)
	_, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Get(t.Context(), []byte("k"))
	require.ErrorIs(t, err, errClosed)
	_, err = c.Cluster(t.Context())
	require.ErrorIs(t, err, errClosed)
}

func TestCloseEndsCallsUnderWay(t *testing.T) {
	h, seen := recorded(silent)
	c, _, _ := cluster(t, Config{}, h)
	read, mutation := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Get(t.Context(), []byte("k"))
		read <- err
	}()
	<-seen
	go func() {
		_, err := c.Put(t.Context(), []byte("k"), nil)
		mutation <- err
	}()
	<-seen
	require.NoError(t, c.Close())
	requireCode(t, kverr.Canceled, <-read)
	requireCode(t, kverr.OutcomeUnknown, <-mutation)
}

func TestCloseEndsPausesBetweenAttempts(t *testing.T) {
	c, n, _ := cluster(t, Config{Timeout: time.Hour}, func(*kringv1.Request) (*kringv1.Response, error) {
		return &kringv1.Response{Code: kverr.Busy, RetryAfterMillis: 60_000}, nil
	})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), []byte("k"), nil)
		ended <- err
	}()
	await.Until(t, "it pauses", func() bool {
		one := (*c.pool.nodes.Load())[n.id]
		return c.Stats().Attempts == 1 && one != nil && one.requests.Load() == 0
	})
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-ended, errClosed)
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	require.ErrorContains(t, err, "Seeds")
	for _, cfg := range []Config{{MaxInFlight: -1}, {MaxInFlightBytes: -1}, {MaxWaiting: -1}, {Timeout: -1}, {LargeValue: -1}} {
		cfg.Seeds = StaticSeeds("127.0.0.1:1")
		_, err := Open(t.Context(), cfg)
		require.ErrorContains(t, err, "or 0 for")
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	none := startNodeAt(t, "none", "127.0.0.1:0", echo) // a server, but no coordinator
	_, err := Open(ctx, Config{Seeds: StaticSeeds(none.address)})
	e := requireCode(t, kverr.Deadline, err)
	require.Contains(t, e.Message, none.address)

	forming := startCoordinator(t, &ring.Table{Version: 1, Settings: ring.Settings{ClusterID: "test"}})
	ctx, cancel = context.WithTimeout(t.Context(), time.Second) // enough to reach it on a busy machine
	defer cancel()
	_, err = Open(ctx, Config{Seeds: StaticSeeds(forming.address)})
	require.ErrorContains(t, err, "2 more nodes")

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, Config{Seeds: StaticSeeds()})
	requireCode(t, kverr.Canceled, err)
}

func TestOpenRefusesAnotherCluster(t *testing.T) {
	n := startNode(t, "n1", echo)
	co := startCoordinator(t, tableOf(1, n))
	_, err := Open(t.Context(), Config{Seeds: StaticSeeds(co.address), ClusterID: "mine"})
	e := requireCode(t, kverr.WrongCluster, err)
	require.Contains(t, e.Message, `"test"`)
}

func TestOpenWaitsForTheClusterToForm(t *testing.T) {
	n := startNode(t, "n1", echo)
	co := startCoordinator(t, &ring.Table{Version: 1, Settings: tableOf(2, n).Settings})
	opened := make(chan error, 1)
	var c *Client
	go func() {
		var err error
		c, err = Open(t.Context(), Config{Seeds: StaticSeeds(co.address)})
		opened <- err
	}()
	await.Until(t, "the watch", func() bool { return co.watches.Load() > 0 })
	co.set(tableOf(2, n))
	require.NoError(t, <-opened)
	require.NoError(t, c.Close())
}

func TestLocateClusterAndCopies(t *testing.T) {
	n1, n2 := startNode(t, "n1", echo), startNode(t, "n2", echo)
	co := startCoordinator(t, tableOf(1, n1, n2))
	c := open(t, Config{}, co)

	key := []byte("users/42")
	l := c.Locate(key)
	require.Equal(t, ring.PartitionOf(key, 16), l.Partition.ID)
	require.EqualValues(t, 1, l.TableVersion)
	require.Equal(t, c.Preferred()[l.Partition.ID], l.Preferred)
	require.NotEmpty(t, l.Members)

	info, err := c.Cluster(t.Context())
	require.NoError(t, err)
	require.True(t, info.GetFormed())

	n2.server.Stop()
	counts := c.CountCopies(t.Context())
	require.Len(t, counts, 2)
	require.NoError(t, counts[0].Err)
	require.EqualValues(t, 9, counts[0].Copies[0].GetKeys())
	requireCode(t, kverr.Unavailable, counts[1].Err)
	require.Equal(t, ring.NodeID("n2"), counts[1].Node)
}

func TestAnswersDoNotKeepOrShareFrames(t *testing.T) {
	a := attributesOf(&kringv1.Attributes{ContentType: "x", Metadata: map[string]string{"k": "v"}}, true)
	require.Equal(t, Attributes{ContentType: "x", Metadata: map[string]string{"k": "v"}}, a)
	require.Nil(t, fromAttributes(&Attributes{}))
	require.Nil(t, fromCondition(&Condition{}))
	require.EqualValues(t, 1, fromAttributes(&Attributes{Expires: time.UnixMilli(0)}).GetExpiresUnixMillis())
	require.False(t, errors.Is(errClosed, errMoved))

	asked := AskedBy(IfVersion(0), WantExisted(), WithAttributes(Attributes{ContentType: "x"}))
	require.Equal(t, Asked{Condition: Condition{IfAbsent: true}, Attributes: Attributes{ContentType: "x"}, WantExisted: true}, asked)
}
