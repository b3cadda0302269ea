package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const maxReasonBytes = 256 // of a change's reason; the rest is cut off

// Who asked for a change, in metrics and logs.
const (
	byPrimary  = "primary"
	byFailover = "failover"
	byPlan     = "planner"
	byPerson   = "person"
)

// changed is what became of one change of many.
type changed struct {
	partition ring.Partition // decided
	err       error          // *kverr.Error: refused
}

// changePartitions decides each change by itself, in order. A partition's second change in one command is refused: both were
// decided upon from the same state, and the compare-and-set lets one of them through.
func (s *state) changePartitions(index uint64, now int64, c *kringv1.ChangePartitionsCommand) []changed {
	out := make([]changed, len(c.GetChanges()))
	decided := make([]ring.Partition, 0, len(out))
	seen := make(map[ring.PartitionID]bool, len(out))
	moves := newMoved()
	for i, change := range c.GetChanges() {
		p, err := s.nextPartition(change)
		if err == nil && seen[p.ID] {
			err = kverr.Newf(kverr.StaleEpoch, "partition %d has changed within this command", p.ID)
		}
		if err != nil {
			out[i].err = err
			continue
		}
		seen[p.ID] = true
		out[i].partition = p
		decided = append(decided, p)
		moves.add(&s.table.Partitions[p.ID], &p)
	}
	if len(decided) > 0 {
		s.setPartitions(index, now, decided)
		s.noteMoves(moves)
	}
	return out
}

// nextPartition is what a change leads to: asked for by a replica, or decided by the coordinators themselves, who know nothing
// of a release.
func (s *state) nextPartition(c *kringv1.ChangePartitionCommand) (ring.Partition, error) {
	desired, expected := ringpb.ToPartition(c.GetDesired()), ring.Epoch(c.GetExpectedEpoch())
	var next ring.Partition
	var err error
	if by := ringpb.ToReplica(c.GetAskedBy()); by.IsZero() {
		desired.Released = false
		next, err = s.table.Change(expected, desired)
	} else {
		next, err = s.table.Ask(expected, desired, by)
	}
	if err != nil {
		return ring.Partition{}, changeError(err)
	}
	return next, nil
}

// changePartition has one compare-and-set decided for the partition's primary. Only the leader comes here.
func (c *Coordinator) changePartition(ctx context.Context, req *kringv1.ChangePartitionRequest) (*kringv1.ChangePartitionResponse, error) {
	resp, err := c.changePartitions(ctx, &kringv1.ChangePartitionsRequest{
		ClusterId: req.GetClusterId(), AskedBy: req.GetAskedBy(), Changes: []*kringv1.ChangePartitionsRequest_Change{{
			ExpectedEpoch: req.GetExpectedEpoch(), Desired: req.GetDesired(), Reason: req.GetReason(),
		}},
	})
	if err != nil {
		return nil, err
	}
	result := resp.GetResults()[0]
	if result.GetDecided() == nil {
		return nil, kverr.New(result.GetCode(), result.GetMessage())
	}
	return &kringv1.ChangePartitionResponse{Decided: result.GetDecided(), TableVersion: resp.GetTableVersion()}, nil
}

// changePartitions has many decided, in one entry of the log. Only the leader comes here. Who may ask for what is
// ring.Ask's to say.
func (c *Coordinator) changePartitions(_ context.Context, req *kringv1.ChangePartitionsRequest) (*kringv1.ChangePartitionsResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	t := c.feed.table()
	if err := checkChanges(t, req); err != nil {
		return nil, err
	}
	// Looked at before anything is logged: most refusals are of a primary that does not know yet that it was deposed.
	resp := &kringv1.ChangePartitionsResponse{TableVersion: t.Version}
	var passed []*kringv1.ChangePartitionCommand
	var places []int
	for i, change := range req.GetChanges() {
		resp.Results = append(resp.Results, &kringv1.ChangePartitionsResponse_Result{})
		if err := checkChange(t, ringpb.ToReplica(req.GetAskedBy()), change); err != nil {
			resp.Results[i].Code, resp.Results[i].Message = kverr.As(err).Code, kverr.As(err).Message
			c.metrics.changes.WithLabelValues(byPrimary, codeLabel(err)).Inc()
			continue
		}
		places = append(places, i)
		passed = append(passed, &kringv1.ChangePartitionCommand{
			ExpectedEpoch: change.GetExpectedEpoch(), Desired: change.GetDesired(), Reason: cut(change.GetReason(), maxReasonBytes),
			AskedBy: req.GetAskedBy(),
		})
	}
	if len(passed) == 0 {
		return resp, nil
	}
	r, err := c.decide(byPrimary, passed)
	if err != nil {
		return nil, err
	}
	resp.TableVersion = r.version
	for i, change := range r.changes {
		result := resp.Results[places[i]]
		if change.err != nil {
			result.Code, result.Message = kverr.As(change.err).Code, kverr.As(change.err).Message
			continue
		}
		result.Decided = ringpb.FromPartition(&change.partition)
	}
	return resp, nil
}

// checkChanges refuses a request as a whole.
func checkChanges(t *ring.Table, req *kringv1.ChangePartitionsRequest) error {
	switch {
	case !t.Formed():
		return kverr.Retry(kverr.Unavailable, leadEvery, "the cluster has not formed yet")
	case req.GetClusterId() != t.Settings.ClusterID:
		return kverr.Newf(kverr.WrongCluster, "the change is for cluster %q, this is cluster %s", req.GetClusterId(), t.Settings.ClusterID)
	case len(req.GetChanges()) > ring.MaxPartitions:
		return kverr.Newf(kverr.BadRequest, "%d changes, at most %d at once", len(req.GetChanges()), ring.MaxPartitions)
	}
	seen := make(map[uint32]bool, len(req.GetChanges()))
	for _, change := range req.GetChanges() {
		id := change.GetDesired().GetId()
		switch {
		case change.GetDesired() == nil:
			return kverr.New(kverr.BadRequest, "a change without the desired configuration")
		case seen[id]:
			return kverr.Newf(kverr.BadRequest, "partition %d is named twice", id)
		}
		seen[id] = true
	}
	return nil
}

func checkChange(t *ring.Table, asker ring.Replica, change *kringv1.ChangePartitionsRequest_Change) error {
	if asker.IsZero() {
		return kverr.New(kverr.BadRequest, "the request does not say which replica asks")
	}
	if _, err := t.Ask(ring.Epoch(change.GetExpectedEpoch()), ringpb.ToPartition(change.GetDesired()), asker); err != nil {
		return changeError(err)
	}
	return nil
}

// decide proposes changes in one command, counts them and says what became of them.
func (c *Coordinator) decide(by string, changes []*kringv1.ChangePartitionCommand) (result, error) {
	r, err := c.propose("change_partitions", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_ChangePartitions{
		ChangePartitions: &kringv1.ChangePartitionsCommand{Changes: changes},
	}})
	if err != nil {
		c.metrics.changes.WithLabelValues(by, codeLabel(err)).Add(float64(len(changes)))
		return r, err
	}
	refused := 0
	reasons := map[string]int{}
	for i, change := range r.changes {
		c.metrics.changes.WithLabelValues(by, codeLabel(change.err)).Inc()
		if change.err != nil {
			refused++
			c.cfg.Logger.Debug("change refused", "by", by, "partition", changes[i].GetDesired().GetId(), "error", change.err)
			continue
		}
		reasons[changes[i].GetReason()]++
	}
	if len(reasons) > 0 {
		c.cfg.Logger.Info("partitions changed", "by", by, "asked_by", changes[0].GetAskedBy().GetNodeId(), "why", tally(reasons),
			"refused", refused, "version", r.version)
	}
	return r, nil
}

// tally is "reason (count), …", sorted.
func tally(reasons map[string]int) string {
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		out = append(out, fmt.Sprintf("%s (%d)", reason, reasons[reason]))
	}
	return strings.Join(out, ", ")
}

// cut shortens s to at most n bytes, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
