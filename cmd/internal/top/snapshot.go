// Package top shows a running cluster, as its gateways tell of it, on a terminal or in plain lines.
//
// A Watcher asks and remembers; Snapshot is what it knows at one moment; View and Plain turn that into text and know nothing else.
package top

import (
	"fmt"
	"time"

	"github.com/kringdb/kring/cmd/internal/rest"
)

// Part is the newest answer to one question. What was answered before stays when a later try fails.
type Part[T any] struct {
	Value *T        // nil: never answered
	At    time.Time // when it was
	Error string    // of the last try; empty: it went well, or there has been none
}

// Gateway is one that may be asked.
type Gateway struct {
	Address string
	Error   string    // why it does not serve; empty: nothing is known against it
	Since   time.Time // of Error
}

// Event is one that happened, or the last of several small ones in a row: while copies move there are several a second, which would
// drive out what matters.
type Event struct {
	rest.Event
	Count int       // that this one stands for, itself included
	Since time.Time // the first of these
}

// isSmall reports whether an event is only a step of something larger.
func isSmall(e *rest.Event) bool { return e.Type == "moves" || e.Type == "handover" }

// withEvent is events and one more, folded into the last where both are small.
func withEvent(events []Event, e rest.Event) []Event {
	one := Event{Event: e, Count: 1, Since: e.Time}
	if n := len(events); n > 0 && isSmall(&e) && isSmall(&events[n-1].Event) {
		one.Count, one.Since = events[n-1].Count+1, events[n-1].Since
		events[n-1] = one
		return events
	}
	return append(events, one)
}

// text says what happened.
func (e *Event) text(at func(time.Time) string) string {
	if e.Count < 2 {
		return clean(e.Text)
	}
	return fmt.Sprintf("%s; %d steps since %s", clean(e.Text), e.Count, at(e.Since))
}

// Snapshot is everything that is shown.
type Snapshot struct {
	Now       time.Time
	Gateways  []Gateway
	Asked     int // index of the one that is asked now
	Cluster   Part[rest.Cluster]
	Members   Part[rest.Members]
	Rebalance Part[rest.Rebalance]
	// Operations are the newest first.
	Operations Part[rest.Operations]
	// Events are the newest last, and not all.
	Events      []Event
	EventsError string
}

// away reports whether no gateway serves, as far as is known.
func (s *Snapshot) away() bool {
	for i := range s.Gateways {
		if s.Gateways[i].Error == "" {
			return false
		}
	}
	return true
}
