package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// recorder notes what happened in which order.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) note(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *recorder) service(name string) Service {
	return Service{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		r.note("stop " + name)
		return nil
	}}
}

func TestStopsInReverse(t *testing.T) {
	var r recorder
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	group := Group{Services: []Service{r.service("disk"), r.service("node"), r.service("gateway")}}
	require.NoError(t, group.Run(ctx))
	require.Equal(t, []string{"stop gateway", "stop node", "stop disk"}, r.events)
}

func TestOneFailureEndsAll(t *testing.T) {
	var r recorder
	broken := errors.New("broken")
	group := Group{Services: []Service{
		r.service("a"),
		{Name: "b", Run: func(context.Context) error { return broken }},
		r.service("c"),
	}}
	err := group.Run(t.Context())
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "b: ")
	require.Equal(t, []string{"stop c", "stop a"}, r.events)
}

func TestEndingByItselfIsAFailure(t *testing.T) {
	group := Group{Services: []Service{{Name: "a", Run: func(context.Context) error { return nil }}}}
	require.ErrorContains(t, group.Run(t.Context()), "a: ended by itself")
}

func TestOneThatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		group := Group{Grace: 3 * time.Second, Services: []Service{
			r.service("a"),
			{Name: "hung", Run: func(context.Context) error { <-release; return nil }},
		}}
		require.ErrorContains(t, group.Run(ctx), "hung did not stop within 3s")
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, []string{"stop a"}, r.events, "the others are stopped all the same")
		close(release)
	})
}

func TestFailureAtTheStopIsTold(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	group := Group{Services: []Service{{Name: "a", Run: func(ctx context.Context) error { <-ctx.Done(); return broken }}}}
	require.ErrorIs(t, group.Run(ctx), broken)
}
