package coordinator

import (
	"context"
	"time"

	"google.golang.org/grpc"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/ringpb"
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
		if err := w.step(stream.Context(), stream.Send); err != nil {
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
func (w *watcher) step(ctx context.Context, send func(*kringv1.WatchRingResponse) error) error {
	lost := w.c.loss.channel()
	t, changed := w.c.feed.wait()
	own := t.Settings.ClusterID
	switch {
	case w.clusterID != "" && own == "":
		return kverr.Retry(kverr.Unavailable, retryNoLeader, "this coordinator does not know its cluster's id yet: "+w.c.waitingText())
	case w.clusterID != "" && own != w.clusterID:
		return kverr.Newf(kverr.WrongCluster, "the watcher belongs to cluster %s, this is cluster %s", w.clusterID, own)
	}
	resp := w.next(t.Version)
	if resp != nil {
		resp.LeaderId = w.c.consensus.leader()
		return send(resp)
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

// next is what brings the caller from its version to the newest; nil for nothing. A caller that resumes at the newest
// version is told once that it is.
func (w *watcher) next(newest uint64) *kringv1.WatchRingResponse {
	switch {
	case w.resumed && w.version > newest, w.resumed && w.version == newest && w.greeted:
		return nil
	case w.resumed && w.version == newest:
		w.greeted = true
		return &kringv1.WatchRingResponse{}
	}
	w.greeted = true
	if w.resumed {
		if change, ok := w.c.feed.since(w.version); ok {
			w.version = change.To
			return &kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Change{Change: ringpb.FromChange(&change)}}
		}
	}
	table := w.c.feed.whole()
	w.version, w.resumed = table.GetVersion(), true
	return &kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Table{Table: table}}
}
