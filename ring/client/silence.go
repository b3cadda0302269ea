package client

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// silentAfter is how long a stream may owe answers without giving any before its node is asked for a sign of life, and how long
// that may take. A node may well owe all of them for longer: writes wait while a replica that fell silent is being removed.
const silentAfter = time.Second

// looksPerSilence is how often watch looks in that time.
const looksPerSilence = 4

// watch returns true when the far end gives no sign of life while requests wait for it, and false when ctx ends. It looks at the
// answers now and then, so that requests need no timers.
func (s *batchStream) watch(ctx context.Context) bool {
	ticker := time.NewTicker(s.silent / looksPerSilence)
	defer ticker.Stop()
	quiet, answers := 0, uint64(0)
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
		s.mu.Lock()
		owes := len(s.onWire) > 0 && s.answers == answers
		answers = s.answers
		s.mu.Unlock()
		if quiet++; !owes {
			quiet = 0
		}
		if quiet < looksPerSilence {
			continue
		}
		if !s.asks(ctx) {
			return ctx.Err() == nil
		}
		quiet = 0
	}
}

// asks reports whether the far end gives a sign of life in time.
func (s *batchStream) asks(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.silent)
	defer cancel()
	return s.alive(ctx) == nil
}

// awaitLife asks until there is a sign of life, and reports whether there was before ctx ended. Meanwhile the stream refuses.
func (s *batchStream) awaitLife(ctx context.Context) bool {
	for !s.asks(ctx) {
		if !pause(ctx, s.silent/looksPerSilence) {
			return false
		}
	}
	return true
}

// signOfLife makes a call that costs the far end nothing: any answer will do, also that it does not serve such calls.
func signOfLife(ctx context.Context, conn grpc.ClientConnInterface) error {
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled, codes.Unavailable:
		return err
	}
	return nil
}
