package top

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const (
	eventsKept  = 200             // the newest
	lookPause   = 5 * time.Second // between two looks at gateways that are away
	eventsPause = time.Second     // between two tries to follow events
)

// Config says whom a Watcher asks, and how often.
type Config struct {
	Addresses []string      // of gateways, tried in turn
	Interval  time.Duration // from one question to the next of its kind; above 0
	Timeout   time.Duration // of one question; above 0
}

// Watcher asks gateways about the cluster until its context ends. Every question has a goroutine of its own, so that a slow answer to
// one keeps none of the others waiting.
type Watcher struct {
	config   Config
	gateways *gateways
	ready    chan struct{}
	look     time.Duration // between two looks at gateways that are away

	mu      sync.Mutex
	parts   Snapshot // without Now, Gateways and Asked
	eventID uint64   // newest that was told
}

// NewWatcher checks the addresses; Run begins to ask.
func NewWatcher(c Config) (*Watcher, error) {
	g, err := newGateways(c.Addresses)
	if err != nil {
		return nil, err
	}
	return &Watcher{config: c, gateways: g, ready: make(chan struct{}), look: lookPause}, nil
}

// Ready is closed when every question has been answered, or has failed at every gateway, once.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Snapshot is what is known now. What it points to does not change any more.
func (w *Watcher) Snapshot() *Snapshot {
	w.mu.Lock()
	s := w.parts
	s.Events = slices.Clone(s.Events)
	w.mu.Unlock()
	s.Gateways, s.Asked = w.gateways.list()
	s.Now = time.Now()
	return &s
}

// Run asks until ctx ends; then all its goroutines have ended.
func (w *Watcher) Run(ctx context.Context) {
	defer w.gateways.close()
	var first, all sync.WaitGroup
	first.Add(5)
	all.Go(func() { w.askCluster(ctx, &first) })
	all.Go(func() { ask(ctx, w, &first, &w.parts.Members, (*rest.Client).Members) })
	all.Go(func() { ask(ctx, w, &first, &w.parts.Rebalance, (*rest.Client).Rebalance) })
	all.Go(func() { ask(ctx, w, &first, &w.parts.Operations, (*rest.Client).Operations) })
	all.Go(func() { w.follow(ctx, &first) })
	all.Go(func() { w.lookAtAway(ctx) })
	first.Wait()
	close(w.ready)
	all.Wait()
}

// pause waits for d, or until ctx ends or wake is closed; false: ctx has ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
	return ctx.Err() == nil
}

// askCluster asks how the cluster is. Its answers also decide whether the gateway serves: when it does not, the next is asked at
// once, until all have been.
func (w *Watcher) askCluster(ctx context.Context, first *sync.WaitGroup) {
	once := sync.OnceFunc(first.Done)
	defer once()
	for {
		began := time.Now()
		for range w.gateways.clients {
			index, client, _ := w.gateways.current()
			err := keep(ctx, w, &w.parts.Cluster, client, (*rest.Client).Cluster)
			if ctx.Err() != nil {
				return
			}
			w.gateways.note(index, failureText(err, w.config.Timeout), time.Now())
			if err == nil {
				break
			}
		}
		once()
		if !pause(ctx, w.config.Interval-time.Since(began), nil) {
			return
		}
	}
}

// ask asks one question over and over, and at once when the gateway is another. The first round ends when a gateway that serves
// has been asked, or none does.
func ask[T any](ctx context.Context, w *Watcher, first *sync.WaitGroup, part *Part[T], question func(*rest.Client, context.Context) (*T, error)) {
	once := sync.OnceFunc(first.Done)
	defer once()
	for {
		began := time.Now()
		index, client, switched := w.gateways.current()
		err := keep(ctx, w, part, client, question)
		states, _ := w.gateways.list()
		if err == nil || states[index].Error != "" || len(states) == 1 {
			once()
		}
		if !pause(ctx, w.config.Interval-time.Since(began), switched) {
			return
		}
	}
}

// keep asks once and keeps the answer, or what went wrong.
func keep[T any](ctx context.Context, w *Watcher, part *Part[T], client *rest.Client, question func(*rest.Client, context.Context) (*T, error)) error {
	one, cancel := context.WithTimeout(ctx, w.config.Timeout)
	defer cancel()
	value, err := question(client, one)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		part.Error = failureText(err, w.config.Timeout)
		return err
	}
	*part = Part[T]{Value: value, At: time.Now()}
	return nil
}

// follow keeps the newest events: first those that are remembered, then what happens.
func (w *Watcher) follow(ctx context.Context, first *sync.WaitGroup) {
	once := sync.OnceFunc(first.Done)
	defer once()
	for {
		index, client, switched := w.gateways.current()
		err := w.followOne(ctx, client, switched, once)
		if err != nil && ctx.Err() == nil {
			w.setEventsError(failureText(err, w.config.Timeout))
		}
		if states, _ := w.gateways.list(); states[index].Error != "" || len(states) == 1 {
			once()
		}
		if !pause(ctx, eventsPause, switched) {
			return
		}
	}
}

// followOne follows events at one gateway, until another is asked or that one wants no more.
func (w *Watcher) followOne(ctx context.Context, client *rest.Client, switched <-chan struct{}, known func()) error {
	here, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-switched:
			cancel()
		case <-here.Done():
		}
	}()
	defer func() { cancel(); <-stopped }()
	one, end := context.WithTimeout(here, w.config.Timeout)
	defer end()
	v, err := client.Events(one, w.newest())
	if err != nil {
		return unlessEnded(here, err)
	}
	w.takeAll(v)
	known()
	return unlessEnded(here, client.FollowEvents(here, v.NewestID, w.take))
}

// unlessEnded is err, or nil if that is because ctx has ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (w *Watcher) newest() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.eventID
}

func (w *Watcher) setEventsError(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parts.EventsError = text
}

// takeAll takes what is remembered.
func (w *Watcher) takeAll(v *rest.Events) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range v.Events {
		w.keepEvent(v.Events[i], v.Lost && i == 0)
	}
	w.eventID, w.parts.EventsError = max(w.eventID, v.NewestID), ""
}

func (w *Watcher) take(e rest.Event, lost bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keepEvent(e, lost)
	w.eventID, w.parts.EventsError = e.ID, ""
	return nil
}

func (w *Watcher) keepEvent(e rest.Event, lost bool) {
	events := w.parts.Events
	if lost && len(events) > 0 {
		events = withEvent(events, rest.Event{ID: e.ID, Time: e.Time, Type: "lost", Text: "(events before this are no longer remembered)"})
	}
	events = withEvent(events, e)
	w.parts.Events = events[max(0, len(events)-eventsKept):]
}

func (w *Watcher) lookAtAway(ctx context.Context) {
	for pause(ctx, w.look, nil) {
		w.gateways.look(ctx, w.config.Timeout)
	}
}

// SetPaused pauses or resumes rebalancing and leaves its other settings alone.
func (w *Watcher) SetPaused(ctx context.Context, paused bool) error {
	one, cancel := context.WithTimeout(ctx, w.config.Timeout)
	defer cancel()
	_, client, _ := w.gateways.current()
	now, err := client.Rebalance(one)
	if err == nil {
		now.Settings.Paused = paused
		_, err = client.SetLimits(one, now.Settings)
	}
	if err != nil {
		return errors.New(failureText(err, w.config.Timeout))
	}
	return nil
}

// failureText is err in few words; empty for nil.
func failureText(err error, timeout time.Duration) string {
	var p *rest.Problem
	switch {
	case err == nil:
		return ""
	case errors.As(err, &p):
		return p.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within " + output.Span(timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return err.Error()
}
