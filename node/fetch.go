package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// fetcher takes in the snapshots that the protocol asks for, a few at a time. Each request is answered exactly once, by Installed
// or InstallFailed; after a failure the protocol asks again, and the next attempt for that partition waits longer.
type fetcher struct {
	node *Node
	due  chan struct{} // capacity 1: something waits, or a place is free

	mu       sync.Mutex
	waiting  []replica.Fetch // at most one a partition, since the protocol has one under way
	running  map[ring.PartitionID]*incoming
	failures map[ring.PartitionID]failures
}

type failures struct {
	count     int
	notBefore time.Time
}

// Pauses between attempts for one partition.
const (
	fetchRetryMin = 100 * time.Millisecond
	fetchRetryMax = 5 * time.Second
)

func newFetcher(n *Node) *fetcher {
	return &fetcher{
		node: n, due: make(chan struct{}, 1),
		running: make(map[ring.PartitionID]*incoming), failures: make(map[ring.PartitionID]failures),
	}
}

// add takes requests over. It may be called under any lock.
func (f *fetcher) add(fetches []replica.Fetch) {
	f.mu.Lock()
	f.waiting = append(f.waiting, fetches...)
	f.mu.Unlock()
	wake(f.due)
}

// run takes snapshots in until ctx ends, and then waits for those under way, which it cancels.
func (f *fetcher) run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.due:
		case <-timer.C:
		}
		for {
			inCtx, in, after := f.next(ctx, time.Now())
			if in == nil {
				if after > 0 {
					timer.Reset(after)
				}
				break
			}
			workers.Go(func() {
				defer in.cancel()
				f.fetch(inCtx, in)
			})
		}
	}
}

// next gives a request that can be seen to now, and takes a place for it. Without one it says when to look again; 0: at the
// next sign.
func (f *fetcher) next(ctx context.Context, now time.Time) (inCtx context.Context, in *incoming, after time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.running) >= f.node.pacer.atOnce() {
		return nil, nil, 0
	}
	for i, fetch := range f.waiting {
		if f.running[fetch.Partition] != nil {
			continue
		}
		if wait := f.failures[fetch.Partition].notBefore.Sub(now); wait > 0 {
			if after == 0 || wait < after {
				after = wait
			}
			continue
		}
		f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
		in = &incoming{node: f.node, Fetch: fetch}
		inCtx, in.cancel = context.WithCancel(ctx)
		f.running[fetch.Partition] = in
		return inCtx, in, 0
	}
	return nil, nil, after
}

// moved gives up snapshots of partitions that this node does not join any more.
func (f *fetcher) moved(partitions []ring.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.running) == 0 {
		return
	}
	self := f.node.self()
	for i := range partitions {
		p := &partitions[i]
		if in := f.running[p.ID]; in != nil && p.Epoch > in.Epoch && !p.IsJoining(self) {
			in.cancel()
		}
	}
}

// fetch sees to one request and reports how it ended.
func (f *fetcher) fetch(ctx context.Context, in *incoming) {
	n, fetch := f.node, in.Fetch
	n.metrics.receiving.Inc()
	defer n.metrics.receiving.Dec()
	start := time.Now()
	err := in.run(ctx)
	n.metrics.transferred("in", err)
	n.arrivals.ends(fetch.Partition, err == nil)
	log := n.log.With("partition", fetch.Partition, "epoch", fetch.Epoch, "from", fetch.From.Node, "bytes", in.bytes,
		"took", time.Since(start))
	f.mu.Lock()
	delete(f.running, fetch.Partition)
	if err == nil {
		delete(f.failures, fetch.Partition)
	} else {
		fail := f.failures[fetch.Partition]
		pause := min(fetchRetryMin<<min(fail.count, 10), fetchRetryMax)
		if kverr.CodeOf(err) == kverr.Busy {
			pause = 0 // it is our turn soon; others may be asked meanwhile
		} else {
			fail.count++
		}
		fail.notBefore = time.Now().Add(max(pause, kverr.As(err).RetryAfter))
		f.failures[fetch.Partition] = fail
	}
	f.mu.Unlock()
	wake(f.due)
	if err == nil {
		log.Info("snapshot taken in", "seq", in.header.GetSeq(), "items", in.sum.count)
		in.finish()
		return
	}
	switch kverr.CodeOf(err) {
	case kverr.Busy, kverr.StaleEpoch, kverr.Canceled, kverr.Unavailable:
		log.Debug("snapshot not taken in", "error", err)
	default:
		log.Warn("snapshot not taken in; another attempt follows if it is still needed", "error", err)
	}
	in.abort()
}

// incoming is one snapshot being taken in.
type incoming struct {
	replica.Fetch
	node    *Node
	cancel  context.CancelFunc
	install store.Install // nil until the primary has begun
	header  *kringv1.SnapshotHeader
	sum     *itemSum
	bytes   int
}

// run takes in everything and makes it durable.
func (in *incoming) run(ctx context.Context) error {
	n := in.node
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address := n.addressOf(in.From)
	if address == "" {
		return kverr.Newf(kverr.Unavailable, "the table has no address of %v", in.From)
	}
	// A connection of its own: what it carries must not stand before entries and beacons.
	conn, err := grpc.NewClient(address, append(n.dialOptions(), transferWindows()...)...)
	if err != nil {
		return kverr.New(kverr.Unavailable, err.Error())
	}
	defer conn.Close()
	stall := time.AfterFunc(transferStall, cancel)
	defer stall.Stop()
	stream, err := kringv1.NewPeerServiceClient(conn).Snapshot(ctx, &kringv1.SnapshotRequest{
		ClusterId: n.clusterID(), Replica: ringpb.FromReplica(n.self()), BootCount: n.boot(),
		Partition: uint32(in.Partition), Epoch: uint64(in.Epoch),
	})
	if err != nil {
		return kverr.FromGRPC(err)
	}
	in.sum = newItemSum()
	for last := false; !last; {
		chunk, err := stream.Recv()
		if err != nil {
			return kverr.FromGRPC(err)
		}
		stall.Reset(transferStall)
		if last, err = in.take(chunk); err != nil {
			return err
		}
	}
	stall.Stop()
	return in.install.Finish()
}

// transferWindow is what a sender may have under way to a joiner that does not take it: a few chunks. The next is asked for when one
// has been stored, so a slow disk slows the sender down.
const transferWindow = 4 * chunkBytes

func transferWindows() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithStaticStreamWindowSize(transferWindow), grpc.WithStaticConnWindowSize(transferWindow)}
}

// take adds one chunk and reports whether it was the last.
func (in *incoming) take(chunk *kringv1.SnapshotChunk) (last bool, err error) {
	if in.install == nil {
		if chunk.Header == nil {
			return false, kverr.New(kverr.Corrupt, "a snapshot begins with its header")
		}
		if err := in.begin(chunk.Header); err != nil {
			return false, err
		}
	}
	items := make([]store.Item, len(chunk.Items))
	for i, item := range chunk.Items {
		items[i] = store.Item{Key: item.Key, Value: item.Value}
		if err := in.sum.add(item.Key, item.Value); err != nil {
			return false, err
		}
	}
	size := chunk.SizeVT()
	in.bytes += size
	in.node.receivedAsJoiner(in.Partition, viaSnapshot, size)
	in.node.arrivals.takes(in.Partition, size)
	if len(items) > 0 {
		if err := in.install.Add(items); err != nil {
			return false, fmt.Errorf("node: partition %d: what was received cannot be stored: %w", in.Partition, err)
		}
	}
	if chunk.Last && (chunk.ItemsSent != in.sum.count || chunk.Digest != in.sum.digest.Sum64()) {
		return false, kverr.Newf(kverr.Corrupt, "of partition %d %d items arrived with digest %x, %d were sent with %x", in.Partition,
			in.sum.count, in.sum.digest.Sum64(), chunk.ItemsSent, chunk.Digest)
	}
	return chunk.Last, nil
}

// begin opens a generation for what comes.
func (in *incoming) begin(header *kringv1.SnapshotHeader) error {
	install, err := in.node.cfg.Store.Install(in.Partition)
	if err != nil {
		return fmt.Errorf("node: partition %d: new generation: %w", in.Partition, err)
	}
	in.install, in.header = install, header
	in.node.arrivals.begins(in.Partition, header.GetBytes())
	in.node.engine.step(&replica.Installing{Partition: in.Partition, Epoch: in.Epoch, Generation: install.Generation()})
	return nil
}

// finish tells the protocol, which flips to the new generation or voids it in the log.
func (in *incoming) finish() {
	installed := &replica.Installed{
		Partition: in.Partition, Epoch: in.Epoch, Generation: in.install.Generation(),
		Seq: in.header.Seq, SeqEpoch: ring.Epoch(in.header.SeqEpoch), HybridTime: in.header.HybridTime, Requests: in.header.Requests,
	}
	in.node.engine.step(installed)
	if installed.Ignored {
		in.discard()
	}
}

// abort tells the protocol, which voids the generation in the log, and then deletes it.
func (in *incoming) abort() {
	failed := &replica.InstallFailed{Partition: in.Partition, Epoch: in.Epoch}
	if in.install != nil {
		failed.Generation = in.install.Generation()
	}
	in.node.engine.step(failed)
	if in.install != nil {
		in.discard()
	}
}

// discard has what was taken in deleted.
func (in *incoming) discard() {
	if err := in.install.Abort(); err != nil {
		in.node.log.Warn("an unfinished snapshot could not be deleted; it is at the next start", "partition", in.Partition, "error", err)
	}
}

// addressOf is where the table says that a replica can be reached; empty if it does not.
func (n *Node) addressOf(r ring.Replica) string {
	if t := n.table.Load(); t != nil {
		if m := t.Member(r.Node); m != nil && m.Store == r.Store {
			return m.Address
		}
	}
	return ""
}
