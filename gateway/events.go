package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// How a stream of events behaves.
const (
	eventsKeepAlive  = 15 * time.Second // a comment, where nothing happens
	eventsWriteLimit = 10 * time.Second // for a reader to take what is sent
	eventsRetry      = time.Second      // what browsers are told to wait before they connect again
)

// getEvents serves server-sent events until the client goes, or this gateway stops. It goes on over failures of coordinators; who
// connects again names the last id that it has seen, and misses nothing that the coordinators remember.
func (g *Gateway) getEvents(x *exchange, r *http.Request) error {
	req, err := eventsAsked(r)
	if err != nil {
		return err
	}
	if wantsJSON(r.Header) {
		return g.listEvents(x, r, req)
	}
	if g.config.Control == nil {
		return kverr.New(kverr.Unavailable, "this gateway has no way to the coordinators")
	}
	if g.eventStreams.Add(1) > int64(g.config.MaxEventStreams) {
		g.eventStreams.Add(-1)
		return kverr.Retry(kverr.Busy, time.Second, "this gateway has as many streams of events open as it takes: close some, or ask another")
	}
	defer g.eventStreams.Add(-1)
	ctx, cancel := context.WithCancel(r.Context())
	s := eventStream{x: x, control: http.NewResponseController(x.ResponseWriter), answers: make(chan *kringv1.WatchEventsResponse)}
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- g.config.Control.WatchEvents(ctx, req, func(resp *kringv1.WatchEventsResponse) error {
			select {
			case s.answers <- resp:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = s.run(ctx, g, ended)
	cancel()
	for range ended { // it has ended once this is over
		continue
	}
	return err
}

// wantsJSON: who does not name the type of streams and does name JSON gets a list.
func wantsJSON(h http.Header) bool {
	accept := strings.Join(h["Accept"], ",")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/event-stream")
}

var errAllTold = errors.New("all that is remembered has been told")

// eventsView is what is remembered now.
type eventsView struct {
	Events   []eventView `json:"events"`
	NewestID uint64      `json:"newest_id"` // where to go on
	Lost     bool        `json:"lost"`      // some before the first are no longer remembered
}

// listEvents answers with what is remembered, and does not wait for more.
func (g *Gateway) listEvents(x *exchange, r *http.Request, req *kringv1.WatchEventsRequest) error {
	ctx, cancel, _, err := g.ask(r, "after")
	if err != nil {
		return err
	}
	defer cancel()
	v := eventsView{Events: []eventView{}}
	err = g.config.Control.WatchEvents(ctx, req, func(resp *kringv1.WatchEventsResponse) error {
		v.NewestID, v.Lost = resp.GetNewestId(), v.Lost || resp.GetLost()
		for _, e := range resp.GetEvents() {
			v.Events = append(v.Events, viewEvent(e))
		}
		if resp.GetMore() {
			return nil
		}
		return errAllTold
	})
	if !errors.Is(err, errAllTold) {
		return err
	}
	return x.sendJSON(v)
}

// eventsAsked is where the stream is to begin: after an event, by ?after= or else Last-Event-ID, or now. After 0 is everything
// that is remembered.
func eventsAsked(r *http.Request) (*kringv1.WatchEventsRequest, error) {
	q, err := parseQuery(r.URL.RawQuery, "after", "timeout")
	if err != nil {
		return nil, err
	}
	text, given := q.get("after")
	if lines := r.Header["Last-Event-Id"]; len(lines) > 0 && lines[0] != "" {
		text, given = lines[0], true // a browser that connects again repeats the first address
	}
	if !given {
		return &kringv1.WatchEventsRequest{}, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, kverr.Newf(kverr.BadRequest, "%q is no event's id: ids are numbers; 0 asks for all that are remembered", text)
	}
	return &kringv1.WatchEventsRequest{AfterId: id, All: id == 0}, nil
}

// eventStream is one answer. Its header goes out with the first word of a coordinator, so that without one it is an error.
type eventStream struct {
	x       *exchange
	control *http.ResponseController
	answers chan *kringv1.WatchEventsResponse
	text    []byte
}

// run sends what comes, until one side ends it.
func (s *eventStream) run(ctx context.Context, g *Gateway, ended <-chan error) error {
	first := time.NewTimer(coordinatorTimeout)
	defer first.Stop()
	keepAlive := time.NewTicker(g.keepAlive)
	defer keepAlive.Stop()
	for {
		var err error
		select {
		case resp := <-s.answers:
			first.Stop()
			err = s.send(resp)
		case <-keepAlive.C:
			if s.x.status != 0 {
				err = s.write([]byte(":\n\n"))
			}
		case <-first.C:
			return kverr.Retry(kverr.Unavailable, time.Second, "no coordinator tells what happens: none answered in time")
		case err := <-ended:
			if s.x.status != 0 || errors.Is(err, context.Canceled) {
				return nil // the stream ends; who wants more connects again
			}
			return err
		case <-g.ending:
			if s.x.status == 0 {
				return kverr.New(kverr.Unavailable, "this gateway is stopping")
			}
			return nil
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			s.x.gateway.metrics.unsent.Inc() // the reader has gone, or takes nothing
			return nil
		}
	}
}

// begin sends the header, and the id to go on from where nothing happens before the connection breaks.
func (s *eventStream) begin(position uint64) {
	s.x.streams = true
	header := s.x.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["Cache-Control"] = []string{"no-store"}
	header["X-Accel-Buffering"] = []string{"no"} // proxies must not collect
	s.x.WriteHeader(http.StatusOK)
	s.text = append(s.text, "retry: "...)
	s.text = strconv.AppendInt(s.text, eventsRetry.Milliseconds(), 10)
	s.text = append(s.text, "\nid: "...)
	s.text = strconv.AppendUint(s.text, position, 10)
	s.text = append(s.text, "\n\n"...)
}

func (s *eventStream) send(resp *kringv1.WatchEventsResponse) error {
	s.text = s.text[:0]
	if s.x.status == 0 {
		position := resp.GetNewestId()
		if events := resp.GetEvents(); len(events) > 0 {
			position = events[0].GetId() - 1
		}
		s.begin(position)
	}
	if resp.GetLost() {
		s.text = append(s.text, "event: lost\ndata: {\"text\":\"some events before the next one are no longer remembered\"}\n\n"...)
	}
	for _, e := range resp.GetEvents() {
		if err := s.append(e); err != nil {
			return err
		}
	}
	if len(s.text) == 0 {
		return nil
	}
	return s.write(s.text)
}

func (s *eventStream) append(e *kringv1.Event) error {
	view := viewEvent(e)
	data, err := json.Marshal(view)
	if err != nil {
		return err
	}
	s.text = append(s.text, "id: "...)
	s.text = strconv.AppendUint(s.text, e.GetId(), 10)
	s.text = append(s.text, "\nevent: "...)
	s.text = append(s.text, view.Type...)
	s.text = append(s.text, "\ndata: "...)
	s.text = append(s.text, data...)
	s.text = append(s.text, "\n\n"...)
	return nil
}

// write gives the reader some time: one that takes nothing holds a place that others want.
func (s *eventStream) write(text []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(eventsWriteLimit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.x.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}
