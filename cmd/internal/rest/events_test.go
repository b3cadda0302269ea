package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A reader of events goes on where it was when its stream ends, and at another gateway when that one is away.
func TestFollowEvents(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Query().Get("after"))
		switch len(asked) {
		case 1:
			_, _ = io.WriteString(w, "retry: 1000\nid: 9\n\n:\n\n") // ends before anything has happened
		case 2:
			_, _ = io.WriteString(w, "id: 9\n\nid: 10\nevent: node_up\ndata: {\"id\":10,\"text\":\"up\"}\n\nid: 11\nevent: node_down\ndata: {\"id\":11") // torn
		default:
			for id := range 2 {
				_, _ = fmt.Fprintf(w, "event: lost\ndata: {}\n\nid: %d\nevent: node_up\ndata: {\"id\":%d}\n\n", 11+id, 11+id)
			}
		}
	}))
	defer s.Close()
	c := clientOf(t, closedAddress(t), s.URL)
	var got []uint64
	enough := errors.New("enough")
	err := c.FollowEvents(t.Context(), 5, func(e Event, lost bool) error {
		got = append(got, e.ID)
		require.Equal(t, e.ID > 10, lost)
		if e.ID == 12 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, []uint64{10, 11, 12}, got)
	require.Equal(t, []string{"5", "9", "10"}, asked)
}

func TestFollowEventsGivesUpOnAnError(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"code":"bad_request","outcome":"none"}`)
	}))
	defer s.Close()
	var p *Problem
	require.ErrorAs(t, clientOf(t, s.URL).FollowEvents(t.Context(), 0, nil), &p)
}
