package node

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// changer asks the coordinators for the configurations that the protocol wants. One call is under way at a time and carries
// everything that has come together since the one before; of two requests for one partition the newer counts, so that never more
// wait than there are partitions. What a call does not achieve is not asked again here: the protocol does, with what it then
// wants.
type changer struct {
	node *Node
	due  chan struct{} // capacity 1

	mu      sync.Mutex
	waiting map[ring.PartitionID]replica.ChangeRequest
}

// changeTimeout bounds one call, in which every coordinator that is known is tried. It is above the time that an election of
// theirs takes.
const changeTimeout = 3 * time.Second

func newChanger(n *Node) *changer {
	return &changer{node: n, due: make(chan struct{}, 1), waiting: make(map[ring.PartitionID]replica.ChangeRequest)}
}

// add takes requests over. It may be called under any lock.
func (c *changer) add(requests []replica.ChangeRequest) {
	c.mu.Lock()
	for _, r := range requests {
		c.waiting[r.Desired.ID] = r
	}
	c.mu.Unlock()
	wake(c.due)
}

// take gives what waits, by partition.
func (c *changer) take() []replica.ChangeRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := make([]replica.ChangeRequest, 0, len(c.waiting))
	for _, r := range c.waiting {
		batch = append(batch, r)
	}
	clear(c.waiting)
	slices.SortFunc(batch, func(a, b replica.ChangeRequest) int { return cmp.Compare(a.Desired.ID, b.Desired.ID) })
	return batch
}

// run asks until ctx ends.
func (c *changer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.due:
		}
		for batch := c.take(); len(batch) > 0 && ctx.Err() == nil; batch = c.take() {
			c.ask(ctx, batch)
		}
	}
}

// ask makes one call and tells the protocol at once what was decided, which the watched table would some time later.
func (c *changer) ask(ctx context.Context, batch []replica.ChangeRequest) {
	n := c.node
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	req := &kringv1.ChangePartitionsRequest{ClusterId: n.clusterID(), AskedBy: ringpb.FromReplica(n.self())}
	for i := range batch {
		req.Changes = append(req.Changes, &kringv1.ChangePartitionsRequest_Change{
			ExpectedEpoch: uint64(batch[i].Expected), Desired: ringpb.FromPartition(&batch[i].Desired), Reason: batch[i].Reason,
		})
	}
	n.metrics.changesAsked.Add(float64(len(batch)))
	resp, err := n.coordinators.ChangePartitions(ctx, req)
	if err != nil {
		if ctx.Err() == nil || kverr.CodeOf(ctx.Err()) == kverr.Deadline {
			n.metrics.changeFailures.Inc()
			n.log.Warn("no coordinator takes this node's changes; they are asked again as long as they are needed",
				"changes", len(batch), "first", batch[0].Reason, "error", err)
		}
		return
	}
	if len(resp.Results) != len(batch) {
		n.log.Error("the coordinators answered other changes than were asked", "asked", len(batch), "answered", len(resp.Results))
		return
	}
	var decided []ring.Partition
	refused := make(map[kverr.Code]*refusals)
	for i, result := range resp.Results {
		if result.Decided != nil {
			decided = append(decided, ringpb.ToPartition(result.Decided))
		}
		if result.Code != 0 {
			note(refused, result, &batch[i])
		}
	}
	n.metrics.changesDecided.Add(float64(len(decided)))
	c.report(ctx, refused)
	n.taking.Lock()
	defer n.taking.Unlock()
	if !n.outdated(resp.TableVersion) {
		n.configure(decided)
	}
}

// refusals are those of one code in one call: one line of the log, however many partitions there are.
type refusals struct {
	count   int
	first   *replica.ChangeRequest
	message string
}

func note(refused map[kverr.Code]*refusals, result *kringv1.ChangePartitionsResponse_Result, asked *replica.ChangeRequest) {
	r := refused[result.Code]
	if r == nil {
		r = &refusals{first: asked, message: result.Message}
		refused[result.Code] = r
	}
	r.count++
}

// report logs refusals. That a partition has moved on is what happens when several know of the same failure.
func (c *changer) report(ctx context.Context, refused map[kverr.Code]*refusals) {
	for code, r := range refused {
		c.node.metrics.changesRefused.WithLabelValues(kverr.Name(code)).Add(float64(r.count))
		level := slog.LevelInfo
		if code == kverr.StaleEpoch {
			level = slog.LevelDebug
		}
		c.node.log.Log(ctx, level, "changes refused by the coordinators", "code", kverr.Name(code), "count", r.count,
			"partition", r.first.Desired.ID, "epoch", r.first.Expected, "asked", r.first.Reason, "answer", r.message)
	}
}
