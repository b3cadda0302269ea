package rest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
)

func clientOf(t *testing.T, addresses ...string) *Client {
	t.Helper()
	c, err := New(addresses)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestTriesTheNextGateway(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.NotEmpty(t, r.Header.Get("Request-Timeout"))
		w.Header().Set("ETag", `"7"`)
		w.WriteHeader(http.StatusCreated)
	}))
	defer s.Close()
	c := clientOf(t, closedAddress(t), s.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := c.Put(ctx, []byte("k"), nil, PutOptions{})
	require.NoError(t, err)
	require.Equal(t, "7", answer.Version)
	require.True(t, answer.Created)
}

// hangUp answers no request and cuts its connection.
func hangUp(calls *int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		*calls++
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			connection.Close()
		}
	}
}

func TestAMutationIsNeverSentTwice(t *testing.T) {
	var first, second int
	one, two := httptest.NewServer(hangUp(&first)), httptest.NewServer(hangUp(&second))
	defer one.Close()
	defer two.Close()
	c := clientOf(t, one.URL, two.URL)
	_, err := c.Put(t.Context(), []byte("k"), []byte("v"), PutOptions{})
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.Equal(t, exit.OutcomeUnknown, ExitCode(err))
	require.Equal(t, 1, first)
	require.Zero(t, second)

	_, err = c.Get(t.Context(), []byte("k"))
	require.ErrorIs(t, err, ErrUnreachable)
	require.Equal(t, exit.Failed, ExitCode(err))
	require.Positive(t, second, "a read may be repeated elsewhere")
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		code   int
	}{
		{404, `{"code":"not_found","outcome":"none"}`, exit.NotFound},
		{412, `{"code":"precondition_failed","outcome":"none"}`, exit.PreconditionFailed},
		{503, `{"code":"unavailable","outcome":"none"}`, exit.Failed},
		{504, `{"code":"outcome_unknown","outcome":"unknown"}`, exit.OutcomeUnknown},
		{404, `<html>another server</html>`, exit.Failed},
		{404, `{"code":"no_route","outcome":"none"}`, exit.Failed},
		{412, ``, exit.Failed},
		{502, `<html>a proxy</html>`, exit.OutcomeUnknown},
		{301, ``, exit.Failed},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(test.status)
			_, err := io.WriteString(w, test.body)
			require.NoError(t, err)
		}))
		_, err := clientOf(t, s.URL).Put(t.Context(), []byte("k"), nil, PutOptions{})
		require.Error(t, err)
		require.Equal(t, test.code, ExitCode(err), "%d", test.status)
		s.Close()
	}
	require.Equal(t, exit.OK, ExitCode(nil))
}

func TestWaitTellsWhatIsMissing(t *testing.T) {
	c := clientOf(t, closedAddress(t))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := c.Wait(ctx, func(context.Context) (bool, string, error) { return false, "two nodes", nil })
	require.ErrorContains(t, err, "not in time: two nodes")
	calls := 0
	require.NoError(t, c.Wait(t.Context(), func(context.Context) (bool, string, error) {
		calls++
		return calls == 2, "", errorIf(calls == 1)
	}))
}

func errorIf(yes bool) error {
	if yes {
		return errors.New("not yet")
	}
	return nil
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "ftp://x", "http://"} {
		_, err := New([]string{bad})
		require.Error(t, err, "%q", bad)
	}
	clientOf(t, "127.0.0.1:8080", " http://x:1/ ")
}

func TestSummary(t *testing.T) {
	n := 3
	c := Cluster{CoordinatorsReachable: true, Formed: true, Health: "partial", Nodes: Count{Total: 3, Up: 2}, Coordinators: &Count{Total: 1, Up: 1}}
	c.Partitions.Leaderless = &n
	require.Equal(t, "partial: 3 partitions leaderless, 1 of 3 nodes down", c.Summary())
	require.Equal(t, "forming, waiting for x", (&Cluster{CoordinatorsReachable: true, WaitingFor: "x"}).Summary())
	require.Equal(t, "unknown: nobody leads", (&Cluster{CoordinatorsReachable: true, Formed: true, Health: "unknown", WaitingFor: "nobody leads"}).Summary())
	require.Equal(t, "no coordinator answers: x", (&Cluster{CoordinatorsError: "x"}).Summary())
}

// TestAnIdempotentMutationIsTriedAtTheNextGateway: the gateways know it again.
func TestAnIdempotentMutationIsTriedAtTheNextGateway(t *testing.T) {
	var first int
	one := httptest.NewServer(hangUp(&first))
	defer one.Close()
	two := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "k1", r.Header.Get("Idempotency-Key"))
		require.Equal(t, "incr=-3", r.URL.RawQuery)
		w.Header().Set("Idempotency-Replayed", "true")
		_, err := io.WriteString(w, "39")
		require.NoError(t, err)
	}))
	defer two.Close()
	number, answer, err := clientOf(t, one.URL, two.URL).Incr(t.Context(), []byte("k"), -3, Mutation{IdempotencyKey: "k1"})
	require.NoError(t, err)
	require.EqualValues(t, 39, number)
	require.True(t, answer.Replayed)
	require.Equal(t, 1, first)

	_, _, err = clientOf(t, one.URL).Incr(t.Context(), []byte("k"), -3, Mutation{IdempotencyKey: "k1"})
	require.ErrorIs(t, err, ErrOutcomeUnknown, "nobody was left to say")
	_, _, err = clientOf(t, closedAddress(t)).Incr(t.Context(), []byte("k"), -3, Mutation{IdempotencyKey: "k1"})
	require.ErrorIs(t, err, ErrUnreachable, "nothing was sent")
}

func TestOfAReadNothingIsUnknown(t *testing.T) {
	var asked string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Request-Timeout")
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := clientOf(t, s.URL).Get(ctx, []byte("k"))
	require.ErrorContains(t, err, "is it a Kring gateway?")
	require.Equal(t, exit.Failed, ExitCode(err))
	long, err := strconv.ParseFloat(asked, 64)
	require.NoError(t, err)
	require.Greater(t, long, 0.7)

	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = clientOf(t, s.URL).Get(short, []byte("k"))
	require.Error(t, err)
	seconds, err := strconv.ParseFloat(asked, 64)
	require.NoError(t, err)
	require.Greater(t, seconds, 0.02, "short as the time is, the gateway gets most of it")
}
