package client

import (
	"context"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// maxMissed streams in a row that do not bring a version speak against the version: a cluster has no more coordinators. If
// it is right, the next answer names it again.
const maxMissed = 5

// expectation is a version of the table that a coordinator's answer named, and the stream has still to bring. A coordinator
// that is cut off from the others can be reached by its watchers all the same, and would keep them for ever.
type expectation struct {
	version uint64      // 0: none
	missed  int         // streams given up for it
	timer   *time.Timer // runs while version is not reached and a stream is followed
	cancel  context.CancelCauseFunc
}

// Expect says that the table has reached this version, by the word of a coordinator. If the stream that is being followed
// has not brought it within WatcherConfig.ExpectWithin, it is given up and another coordinator is tried. The answers to
// calls through WatcherConfig.Coordinators are taken into account without it. It does not block.
func (w *Watcher) Expect(version uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// One version at a time: while that is on its way, a table that changes all the time must not look as if it stood.
	if w.expected.version != 0 || w.holds(version) {
		return
	}
	w.expected.version = version
	if w.expected.cancel != nil {
		w.expected.timer = time.AfterFunc(w.cfg.ExpectWithin, w.overdue)
	}
}

// holds is called with mu held.
func (w *Watcher) holds(version uint64) bool {
	return version == 0 || w.base != nil && w.base.Version >= version
}

// overdue ends the stream that has not brought what was expected.
func (w *Watcher) overdue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expected.version == 0 || w.expected.cancel == nil {
		return
	}
	held := uint64(0)
	if w.base != nil {
		held = w.base.Version
	}
	version := w.expected.version
	if w.expected.missed++; w.expected.missed >= maxMissed {
		w.expected.version, w.expected.missed = 0, 0
	}
	w.expected.cancel(kverr.Newf(kverr.Unavailable, "its table is behind: version %d is known to be decided, and it stays at %d or below "+
		"for %s", version, held, w.cfg.ExpectWithin))
}

// begin gives a new stream its time to bring what is expected, and end takes back what begin has done.
func (w *Watcher) begin(cancel context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected.cancel = cancel
	if w.expected.version != 0 {
		w.expected.timer = time.AfterFunc(w.cfg.ExpectWithin, w.overdue)
	}
}

func (w *Watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected.cancel = nil
	w.stopTimer()
}

// reached is called with mu held, after base has changed.
func (w *Watcher) reached() {
	if w.expected.version != 0 && w.holds(w.expected.version) {
		w.expected.version, w.expected.missed = 0, 0
		w.stopTimer()
	}
}

func (w *Watcher) stopTimer() {
	if w.expected.timer != nil {
		w.expected.timer.Stop()
		w.expected.timer = nil
	}
}
