package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// overrideRequest is the body of POST /v1/cluster/recover.
type overrideRequest struct {
	Partitions []overrideView `json:"partitions"`
}

// overrideView makes one copy the whole of a partition. Epoch is as the listing said, so that what has changed since is left alone.
type overrideView struct {
	Partition ring.PartitionID `json:"partition"`
	Epoch     string           `json:"epoch"`
	Node      ring.NodeID      `json:"node"`
	Store     string           `json:"store"`
}

// overriddenView is what became of it.
type overriddenView struct {
	Partitions []overriddenPartitionView `json:"partitions"`
}

type overriddenPartitionView struct {
	Partition     ring.PartitionID `json:"partition"`
	Decided       *partitionView   `json:"decided,omitempty"`
	VersionsAbove uint64           `json:"versions_above,omitempty"` // every version from now on
	Error         string           `json:"error,omitempty"`          // refused
}

// postRecover has overrides decided, each by itself.
func (g *Gateway) postRecover(x *exchange, r *http.Request) error {
	ctx, cancel, err := g.recoverContext(r)
	if err != nil {
		return err
	}
	defer cancel()
	body, release, err := g.readBody(x, r)
	defer release()
	if err != nil {
		return err
	}
	items, err := parseOverrides(body)
	if err != nil {
		return err
	}
	view, err := g.override(ctx, items)
	if err != nil {
		return err
	}
	return x.sendJSON(view)
}

// override asks for what can be asked for. A person may have looked a while ago, or at nothing: so what the copies hold is counted
// anew here, and new versions begin above that.
func (g *Gateway) override(ctx context.Context, items []*kringv1.RecoverPartitionsRequest_Item) (*overriddenView, error) {
	table := g.config.Client.CoordinatorsTable()
	if table == nil || !table.Formed() {
		return nil, g.noTable()
	}
	refused, err := g.countFor(ctx, items)
	if err != nil {
		return nil, err
	}
	view := &overriddenView{Partitions: make([]overriddenPartitionView, len(items))}
	request := &kringv1.RecoverPartitionsRequest{ClusterId: table.Settings.ClusterID}
	var places []int
	for i, item := range items {
		view.Partitions[i] = overriddenPartitionView{Partition: ring.PartitionID(item.GetPartition()), Error: refused[i]}
		if refused[i] == "" {
			places, request.Items = append(places, i), append(request.Items, item)
		}
	}
	if len(places) == 0 {
		return view, nil
	}
	response, err := g.config.Client.RecoverPartitions(ctx, request)
	if err != nil {
		return nil, err
	}
	for i, result := range response.GetResults() {
		p := &view.Partitions[places[i]]
		p.Error = result.GetMessage()
		if result.GetDecided() != nil {
			decided := ringpb.ToPartition(result.GetDecided())
			shown := viewPartition(&decided)
			p.Decided, p.VersionsAbove, p.Error = &shown, decided.SeqFloor, ""
		}
	}
	return view, nil
}

// countFor fills in the highest seq that anybody knows of each partition, and says why an item cannot be asked for.
func (g *Gateway) countFor(ctx context.Context, items []*kringv1.RecoverPartitionsRequest_Item) (refused []string, err error) {
	ids := make([]ring.PartitionID, len(items))
	for i, item := range items {
		ids[i] = ring.PartitionID(item.GetPartition())
	}
	answers, err := g.count(ctx, ids)
	if err != nil {
		return nil, err
	}
	highest := make(map[uint32]uint64)
	silent := make(map[string]string)
	for _, answer := range answers {
		if answer.Err != nil {
			silent[string(answer.Node)] = ": " + answer.Err.Error()
			continue
		}
		for _, c := range answer.Copies {
			highest[c.GetPartition()] = max(highest[c.GetPartition()], c.GetLast())
		}
	}
	refused = make([]string, len(items))
	for i, item := range items {
		node := item.GetChosen().GetNodeId()
		if why, ok := silent[node]; ok {
			refused[i] = "node " + node + " does not say what it has" + why
		}
		item.HighestKnownSeq = highest[item.GetPartition()]
	}
	return refused, nil
}

func parseOverrides(body []byte) ([]*kringv1.RecoverPartitionsRequest_Item, error) {
	var in overrideRequest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, kverr.Newf(kverr.BadRequest, "the body is not what is documented: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, kverr.New(kverr.BadRequest, "the body goes on after its object")
	}
	if len(in.Partitions) == 0 {
		return nil, kverr.New(kverr.BadRequest, "the body names no partition")
	}
	var out []*kringv1.RecoverPartitionsRequest_Item
	for _, p := range in.Partitions {
		epoch, err := parseEpoch(p.Epoch)
		if err != nil {
			return nil, kverr.Newf(kverr.BadRequest, "partition %d: epoch %q: copy it from the listing", p.Partition, p.Epoch)
		}
		store, err := strconv.ParseUint(p.Store, 16, 64)
		if err != nil || p.Node == "" {
			return nil, kverr.Newf(kverr.BadRequest, "partition %d: node %q, store %q: copy them from the listing", p.Partition, p.Node, p.Store)
		}
		out = append(out, &kringv1.RecoverPartitionsRequest_Item{
			Partition: uint32(p.Partition), ExpectedEpoch: uint64(epoch),
			Chosen: ringpb.FromReplica(ring.Replica{Node: p.Node, Store: ring.StoreID(store)}),
		})
	}
	return out, nil
}

// parseEpoch is the inverse of Epoch.String.
func parseEpoch(text string) (ring.Epoch, error) {
	restores := uint64(0)
	if before, after, found := strings.Cut(text, "."); found {
		var err error
		if restores, err = strconv.ParseUint(before, 10, 16); err != nil {
			return 0, err
		}
		text = after
	}
	number, err := strconv.ParseUint(text, 10, 48)
	return ring.NewEpoch(uint16(restores), number), err
}
