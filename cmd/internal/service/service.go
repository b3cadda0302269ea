// Package service runs the parts of a process together and stops them in order.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Service is one part: Run works until ctx ends, stops cleanly, and returns nil; any other return ends the process.
type Service struct {
	Name string
	Run  func(ctx context.Context) error
}

// DefaultGrace bounds the stop of one service.
const DefaultGrace = 10 * time.Second

// Group is services that live and die together.
type Group struct {
	Logger *slog.Logger
	Grace  time.Duration // a service that has not stopped after this is left behind with an error; 0: DefaultGrace
	// Services are started in this order, so that each can rely on the ones before it, and stopped in the reverse order.
	Services []Service
}

type running struct {
	Service
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// Run starts every service and returns once all have stopped: nil if that was because ctx ended and each stopped cleanly,
// else the first error.
func (g *Group) Run(ctx context.Context) error {
	ended := make(chan *running, len(g.Services))
	started := make([]*running, 0, len(g.Services))
	for _, s := range g.Services {
		// Not derived from ctx: each is cancelled when its turn comes.
		sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{Service: s, cancel: cancel, done: make(chan struct{})}
		started = append(started, r)
		go func() {
			r.err = r.Run(sctx)
			close(r.done)
			ended <- r
		}()
	}
	var cause error
	select {
	case <-ctx.Done():
	case r := <-ended:
		cause = fmt.Errorf("%s: %w", r.Name, orUnexpected(r.err))
		g.log().Error("stopping because a part ended", "part", r.Name, "error", orUnexpected(r.err))
	}
	for i := len(started) - 1; i >= 0; i-- {
		if err := g.stop(started[i]); err != nil && cause == nil {
			cause = err
		}
	}
	return cause
}

func (g *Group) stop(r *running) error {
	r.cancel()
	grace := g.Grace
	if grace <= 0 {
		grace = DefaultGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
		return fmt.Errorf("%s did not stop within %s", r.Name, grace)
	}
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		return fmt.Errorf("stop %s: %w", r.Name, r.err)
	}
	return nil
}

func (g *Group) log() *slog.Logger {
	if g.Logger != nil {
		return g.Logger
	}
	return slog.Default()
}

func orUnexpected(err error) error {
	if err == nil {
		return errors.New("ended by itself")
	}
	return err
}

// repeatAfter is how long after the first signal another one counts: some senders signal a process and its whole group.
const repeatAfter = 500 * time.Millisecond

// UntilSignal is a context that ends at SIGINT or SIGTERM. A signal while the process is stopping already ends it at once.
func UntilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			return
		}
		for began := time.Now(); ; {
			select {
			case s := <-signals:
				if time.Since(began) >= repeatAfter {
					fmt.Fprintln(os.Stderr, "kring: told again while stopping, ending at once")
					os.Exit(exitCode(s))
				}
			case <-parent.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// exitCode is the shell's for a process that died of a signal.
func exitCode(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 1
}
