package coordinator

import (
	"context"
	"time"

	"google.golang.org/grpc"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// behindTimeout is how long a caller that knows a newer table is kept waiting for this coordinator to catch up.
const behindTimeout = 2 * time.Second

// WatchRing serves from this coordinator's own copy, also while there is no leader: an old table is worth more than none,
// since nodes correct who comes with an old one. But where there has been no leader for a while, the stream ends after the
// table: the others may have gone on, and whoever stayed here would never hear of it.
func (s server) WatchRing(req *kringv1.WatchRingRequest, stream grpc.ServerStreamingServer[kringv1.WatchRingResponse]) error {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return kverr.Retry(kverr.Busy, time.Second, "this coordinator has all the watchers it can serve: ask another")
	}
	s.metrics.watchers.Inc()
	defer s.metrics.watchers.Dec()
	w := watcher{c: s.Coordinator, clusterID: req.GetClusterId(), version: req.GetFromVersion(), resumed: req.GetFromVersion() > 0}
	for {
		if err := w.step(stream.Context(), stream.SendMsg); err != nil {
			return err
		}
	}
}

// watcher is one stream: it holds nothing but the version it has sent.
type watcher struct {
	c         *Coordinator
	clusterID string // the caller's; empty: any
	version   uint64 // that the caller holds
	resumed   bool   // by version; false: nothing sent yet
	greeted   bool
}

// step sends what is new, or waits until there is something.
func (w *watcher) step(ctx context.Context, send func(any) error) error {
	lost := w.c.loss.channel()
	t, changed := w.c.feed.wait()
	own := t.Settings.ClusterID
	switch {
	case w.clusterID != "" && own == "":
		return kverr.Retry(kverr.Unavailable, retryNoLeader, "this coordinator does not know its cluster's id yet: "+w.c.waitingText())
	case w.clusterID != "" && own != w.clusterID:
		return kverr.Newf(kverr.WrongCluster, "the watcher belongs to cluster %s, this is cluster %s", w.clusterID, own)
	}
	if w.due(t.Version) {
		return w.send(send)
	}
	var behind <-chan time.Time
	if w.version > t.Version {
		timer := time.NewTimer(behindTimeout)
		defer timer.Stop()
		behind = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.c.stopping:
		return kverr.New(kverr.Unavailable, "this coordinator is stopping: ask another")
	case <-lost:
		return kverr.Retry(kverr.Unavailable, retryNoLeader, "this coordinator knows no leader, and its table may be old: ask another")
	case <-behind:
		return kverr.Newf(kverr.Unavailable, "this coordinator's table is at version %d, behind %d: ask another", t.Version, w.version)
	case <-changed:
		return nil
	}
}

// due reports whether the caller lacks something. One that resumes at the newest version is told once that it is.
func (w *watcher) due(newest uint64) bool {
	return !w.resumed || w.version < newest || w.version == newest && !w.greeted
}

// send brings the caller from its version to the newest.
func (w *watcher) send(send func(any) error) error {
	f, err := w.c.feed.frame(frameKey{from: w.version, resumed: w.resumed, leader: w.c.consensus.leader()})
	if err != nil {
		return kverr.New(kverr.Internal, err.Error())
	}
	w.version, w.resumed, w.greeted = f.version, true, true
	return send(f.encoded)
}
