package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Event is something that happened.
type Event struct {
	ID        uint64    `json:"id"`
	Time      time.Time `json:"time"`
	Type      string    `json:"type"`
	Node      string    `json:"node,omitempty"`
	Operation uint64    `json:"operation,omitempty"`
	Count     uint32    `json:"count,omitempty"`
	Text      string    `json:"text"`
}

// Events is what EventsPath answers to who asks for JSON.
type Events struct {
	Events   []Event `json:"events"`
	NewestID uint64  `json:"newest_id"` // where to go on
	Lost     bool    `json:"lost"`      // some before them are no longer remembered
}

const (
	eventsPause   = 500 * time.Millisecond // between two streams
	maxEventBytes = 64 << 10
)

// Events asks for what is remembered of what happened after an event; 0: for all of it.
func (c *Client) Events(ctx context.Context, after uint64) (*Events, error) {
	v := &Events{}
	return v, c.JSON(ctx, EventsPath, url.Values{"after": {strconv.FormatUint(after, 10)}}, v)
}

// FollowEvents calls take with every event after an id, and goes on until ctx ends or take fails: at another gateway where one goes
// away, and without loss or repeat. lost is true with the first event after some that are no longer remembered.
func (c *Client) FollowEvents(ctx context.Context, after uint64, take func(e Event, lost bool) error) error {
	s := eventStream{after: after, take: take}
	for {
		err := c.followOnce(ctx, &s)
		var p *Problem
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.failed != nil:
			return s.failed
		case errors.As(err, &p) && !p.Retryable:
			return err
		}
		timer := time.NewTimer(eventsPause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// eventStream is where a reader of server-sent events is.
type eventStream struct {
	after  uint64
	take   func(e Event, lost bool) error
	failed error // take's

	id   uint64 // of the block being read
	kind string
	data []byte
	lost bool
}

func (c *Client) followOnce(ctx context.Context, s *eventStream) error {
	response, err := c.Do(ctx, Request{
		Method: http.MethodGet, Path: EventsPath, Query: url.Values{"after": {strconv.FormatUint(s.after, 10)}},
		Header: http.Header{"Accept": {"text/event-stream"}},
	})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	s.kind, s.data = "", nil
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEventBytes)
	for lines.Scan() {
		if err := s.line(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// line takes one line of a stream.
func (s *eventStream) line(text string) error {
	name, value, _ := strings.Cut(text, ":")
	value = strings.TrimPrefix(value, " ")
	switch {
	case text == "":
		return s.block()
	case name == "id":
		id, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("the gateway sent an event with the id %q: is it a Kring gateway?", value)
		}
		s.id = id
	case name == "event":
		s.kind = value
	case name == "data":
		s.data = append(s.data, value...)
	}
	return nil
}

// block ends an event; one without data only says where to go on.
func (s *eventStream) block() error {
	kind, data := s.kind, s.data
	s.kind, s.data = "", nil
	switch {
	case kind == "lost":
		s.lost = true
		return nil
	case len(data) == 0:
		s.after = max(s.after, s.id)
		return nil
	}
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("event %d: %w", s.id, err)
	}
	lost := s.lost
	s.lost, s.after = false, s.id
	s.failed = s.take(e, lost)
	return s.failed
}
