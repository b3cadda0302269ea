package node

import (
	"context"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// GetRecords tells coordinators that have lost what they decided what this node knows of it. It is answered before the node has
// been accepted too: all nodes may have been restarted, with no coordinator to accept them. What coordinators of before a restore
// decide after the answer is not listened to, or it would be missing in it. That holds after a restart too, so it is on the disk
// before the answer is given.
func (n *Node) GetRecords(_ context.Context, req *kringv1.GetRecordsRequest) (*kringv1.GetRecordsResponse, error) {
	if n.leaving.Load() || n.draining.Load() {
		return nil, kverr.ToGRPC(kverr.New(kverr.Unavailable, "this node is stopping"))
	}
	resp := &kringv1.GetRecordsResponse{ClusterId: n.cfg.Store.Identity().ClusterID, Member: ringpb.FromMember(n.member())}
	n.taking.Lock()
	defer n.taking.Unlock()
	if resp.GetClusterId() != "" && req.GetClusterId() == resp.GetClusterId() {
		if err := n.cfg.Store.RaiseTablesAbove(req.GetTablesAbove()); err != nil {
			n.log.Error("could not keep on the disk that coordinators were restored, so they are not answered", "error", err)
			return nil, kverr.ToGRPC(kverr.New(kverr.Unavailable, "this node's disk does not keep that coordinators were restored"))
		}
	}
	resp.TablesAbove = n.cfg.Store.TablesAbove()
	t := n.table.Load()
	settings := n.cfg.Store.Settings()
	if t != nil && t.Formed() {
		resp.TableVersion, settings = t.Version, t.Settings
		if req.GetWithTable() {
			resp.Table = ringpb.FromTable(t)
		}
	}
	if settings != (ring.Settings{}) {
		resp.Settings = ringpb.FromSettings(settings)
	}
	n.engine.mu.Lock()
	configurations := n.engine.core.Configurations()
	n.engine.mu.Unlock()
	for i := range configurations {
		resp.Configurations = append(resp.Configurations, ringpb.FromPartition(&configurations[i]))
	}
	return resp, nil
}

// outdated reports, and logs, whether a decision is of coordinators from before a restore that this node has told its records for. Who
// acts upon partitions by it must hold taking.
func (n *Node) outdated(version uint64) bool {
	above := n.cfg.Store.TablesAbove()
	if above == 0 || version > above {
		return false
	}
	n.log.Error("refused a decision of coordinators from before a restore, some of which still run: stop them for good; or, if the restore "+
		"was a mistake, stop the restored ones for good, and start this node without the file RESTORED in its data directory", "table", version,
		"restored_at", above)
	return true
}

// member is this node as it registers.
func (n *Node) member() *ring.Member {
	identity := n.cfg.Store.Identity()
	start, _ := n.cfg.Store.Starts()
	return &ring.Member{
		Node: n.cfg.ID, Store: identity.Store, Boot: identity.Boot, Start: start,
		Address: n.cfg.AdvertiseAddress, Zone: n.cfg.Zone, Weight: n.cfg.Weight, State: ring.MemberUp,
	}
}

// keepSettings has the newest settings on the disk. Without them there, this node serves as well; they are tried again with the next
// table.
func (n *Node) keepSettings(t *ring.Table) {
	if !t.Formed() || t.Settings == n.cfg.Store.Settings() {
		return
	}
	if err := n.cfg.Store.SetSettings(t.Settings); err != nil {
		n.log.Warn("could not keep the cluster's settings on the disk", "error", err)
	}
}
