package faults

import "sync"

// workers run functions side by side, no more at a time than there are places.
type workers struct {
	running sync.WaitGroup
	places  chan struct{}
}

func newWorkers(places int) *workers { return &workers{places: make(chan struct{}, places)} }

// do waits for a place and starts f.
func (w *workers) do(f func()) {
	w.places <- struct{}{}
	w.running.Go(func() {
		defer func() { <-w.places }()
		f()
	})
}

// wait returns once everything that was started has ended.
func (w *workers) wait() { w.running.Wait() }
