package coordinator

import (
	"context"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// recoverPartitions decides each override by itself, in order; see ring.Override for what that is. That the in-sync copies are
// lost by the table is checked here once more: a node may have come back since the leader looked.
func (s *state) recoverPartitions(index uint64, now int64, c *kringv1.RecoverPartitionsCommand) []changed {
	out := make([]changed, len(c.GetItems()))
	var decided []ring.Partition
	chosen := map[ring.NodeID]int{}
	seen := map[uint32]bool{}
	for i, item := range c.GetItems() {
		if seen[item.GetPartition()] {
			out[i].err = kverr.Newf(kverr.StaleEpoch, "partition %d has changed within this command", item.GetPartition())
			continue
		}
		p, err := s.table.Override(ring.PartitionID(item.GetPartition()), ring.Epoch(item.GetExpectedEpoch()),
			ringpb.ToReplica(item.GetChosen()), item.GetHighestKnownSeq())
		if err != nil {
			out[i].err = changeError(err)
			continue
		}
		seen[item.GetPartition()] = true
		out[i].partition = p
		decided = append(decided, p)
		chosen[p.Primary.Node]++
	}
	if len(decided) > 0 {
		s.setPartitions(index, now, decided)
		s.note(&kringv1.Event{Type: kringv1.Event_TYPE_RECOVERED, NodeId: onlyOne(chosen), Count: uint32(len(decided)),
			Text: "a person has given up lost in-sync copies: go on with older ones: " + tallyNodes(chosen)})
	}
	return out
}

// recoverPartitions has a person's overrides decided, in one entry of the log. Only the leader comes here. It judges the copies
// by what it sees itself: a leader that has not listened for long takes nobody for lost, and refuses.
func (c *Coordinator) recoverPartitions(_ context.Context, req *kringv1.RecoverPartitionsRequest) (*kringv1.RecoverPartitionsResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	t := c.feed.table()
	if err := checkRecover(t, req); err != nil {
		return nil, err
	}
	v := c.beats.view(t, c.gossipsNow(), time.Now())
	if v == nil {
		return nil, kverr.Retry(kverr.NotLeader, leadEvery, "this coordinator has just lost the lead: ask again")
	}
	resp := &kringv1.RecoverPartitionsResponse{TableVersion: t.Version}
	cmd := &kringv1.RecoverPartitionsCommand{}
	var places []int
	for i, item := range req.GetItems() {
		resp.Results = append(resp.Results, &kringv1.RecoverPartitionsResponse_Result{})
		if err := mayOverride(t, v, item); err != nil {
			resp.Results[i].Code, resp.Results[i].Message = kverr.As(err).Code, kverr.As(err).Message
			c.metrics.changes.WithLabelValues(byPerson, codeLabel(err)).Inc()
			continue
		}
		places = append(places, i)
		cmd.Items = append(cmd.Items, &kringv1.RecoverPartitionsCommand_Item{
			Partition: item.GetPartition(), ExpectedEpoch: item.GetExpectedEpoch(), Chosen: item.GetChosen(),
			HighestKnownSeq: item.GetHighestKnownSeq(),
		})
	}
	if len(places) == 0 {
		return resp, nil
	}
	r, err := c.propose("recover_partitions", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_RecoverPartitions{
		RecoverPartitions: cmd,
	}})
	if err != nil {
		c.metrics.changes.WithLabelValues(byPerson, codeLabel(err)).Add(float64(len(places)))
		return nil, err
	}
	resp.TableVersion = r.version
	for i, change := range r.changes {
		c.metrics.changes.WithLabelValues(byPerson, codeLabel(change.err)).Inc()
		result := resp.Results[places[i]]
		if change.err != nil {
			result.Code, result.Message = kverr.As(change.err).Code, kverr.As(change.err).Message
			continue
		}
		result.Decided = ringpb.FromPartition(&change.partition)
		c.cfg.Logger.Warn("a person has given up the in-sync copies of a partition: what was acknowledged and is not in the copy that "+
			"was chosen is lost", "partition", change.partition.ID, "chosen", change.partition.Primary, "given_up",
			nodesOf(t.Partitions[change.partition.ID].InSync), "epoch", change.partition.Epoch, "seqs_above", change.partition.SeqFloor)
	}
	return resp, nil
}

// checkRecover refuses a request as a whole.
func checkRecover(t *ring.Table, req *kringv1.RecoverPartitionsRequest) error {
	switch {
	case !t.Formed():
		return kverr.Retry(kverr.Unavailable, leadEvery, "the cluster has not formed yet")
	case req.GetClusterId() != t.Settings.ClusterID:
		return kverr.Newf(kverr.WrongCluster, "the request is for cluster %q, this is cluster %s", req.GetClusterId(), t.Settings.ClusterID)
	case len(req.GetItems()) > ring.MaxPartitions:
		return kverr.Newf(kverr.BadRequest, "%d partitions, at most %d at once", len(req.GetItems()), ring.MaxPartitions)
	}
	seen := make(map[uint32]bool, len(req.GetItems()))
	for _, item := range req.GetItems() {
		if seen[item.GetPartition()] {
			return kverr.Newf(kverr.BadRequest, "partition %d is named twice", item.GetPartition())
		}
		seen[item.GetPartition()] = true
	}
	return nil
}

// mayOverride refuses what the table's rules refuse, and besides it what the leader knows better than the table: a node that is
// down by the table and answers again, one that drains and lives, and a chosen one that is not well.
func mayOverride(t *ring.Table, v view, item *kringv1.RecoverPartitionsRequest_Item) error {
	id, chosen := ring.PartitionID(item.GetPartition()), ringpb.ToReplica(item.GetChosen())
	if _, err := t.Override(id, ring.Epoch(item.GetExpectedEpoch()), chosen, item.GetHighestKnownSeq()); err != nil {
		return changeError(err)
	}
	for _, r := range t.Partition(id).InSync {
		if !v.lost(t, r) {
			return kverr.Newf(kverr.Conflict, "partition %d: its in-sync copy on %s is not lost: the node has been heard of, or this "+
				"coordinator has not led for long enough to know", id, r.Node)
		}
	}
	if c := v[chosen.Node]; c.health != healthy || c.leaving {
		return kverr.Newf(kverr.Conflict, "partition %d: node %s is not well: %s", id, chosen.Node, c.why)
	}
	return nil
}
