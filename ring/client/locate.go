package client

import (
	"context"
	"slices"
	"sync"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// Locate says where key lives, by the table the client holds. It asks nobody.
func (c *Client) Locate(key []byte) Location {
	t := c.Table()
	l, err := t.Locate(key, c.preferred.owners(t))
	if err != nil {
		// Open has waited for a formed table, and the watcher takes no other kind after one.
		panic("client: " + err.Error())
	}
	return l
}

// Preferred is the node that each partition prefers by the consistent-hash ring, indexed by partition; nil if the table has no
// member that could be preferred. It must not be modified.
func (c *Client) Preferred() []ring.NodeID { return c.preferred.owners(c.Table()) }

// Cluster is health and load as the leader of the coordinators sees them.
func (c *Client) Cluster(ctx context.Context) (*kringv1.GetClusterResponse, error) {
	return c.coordinators.GetCluster(ctx)
}

// RecoverPartitions makes old copies the whole of partitions that have lost every in-sync one: what was acknowledged and is not in
// them is lost. Only a person should ask for it.
func (c *Client) RecoverPartitions(
	ctx context.Context, req *kringv1.RecoverPartitionsRequest,
) (*kringv1.RecoverPartitionsResponse, error) {
	return c.coordinators.RecoverPartitions(ctx, req)
}

// preferredCache keeps the preferred nodes of one membership, which cost milliseconds to compute.
type preferredCache struct {
	mu         sync.Mutex
	members    []ring.Member
	partitions int
	nodes      []ring.NodeID
}

// owners is the preferred node of every partition of t.
func (p *preferredCache) owners(t *ring.Table) []ring.NodeID {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.partitions == len(t.Partitions) && slices.EqualFunc(p.members, t.Members, samePreference) {
		return p.nodes
	}
	nodes, err := t.PreferredOwners()
	if err != nil {
		nodes = nil // nobody to prefer: all are draining
	}
	p.members, p.partitions, p.nodes = t.Members, len(t.Partitions), nodes
	return nodes
}

// samePreference reports whether a and b count the same for the ring.
func samePreference(a, b ring.Member) bool {
	return a.Node == b.Node && (a.State == ring.MemberDraining) == (b.State == ring.MemberDraining)
}

// countCopiesAtOnce bounds how many nodes count at the same time.
const countCopiesAtOnce = 16

// NodeCopies is what one node says about its copies.
type NodeCopies struct {
	Node   ring.NodeID
	Copies []*kringv1.CountCopiesResponse_Copy // by partition as the node lists them
	Err    error                               // the node did not answer; Copies is empty
}

// CountCopies has every member count its copies of the given partitions, of all if none is given: an audit that reads disks. One
// entry a member in the table's order; the members that are down carry an error.
func (c *Client) CountCopies(ctx context.Context, partitions ...ring.PartitionID) []NodeCopies {
	t := c.Table()
	req := &kringv1.CountCopiesRequest{}
	for _, id := range partitions {
		req.Partitions = append(req.Partitions, uint32(id))
	}
	counts := make([]NodeCopies, len(t.Members))
	var counting sync.WaitGroup
	places := make(chan struct{}, countCopiesAtOnce)
	for i := range t.Members {
		places <- struct{}{}
		counting.Go(func() {
			defer func() { <-places }()
			counts[i] = c.countCopies(ctx, &t.Members[i], req)
		})
	}
	counting.Wait()
	return counts
}

func (c *Client) countCopies(ctx context.Context, m *ring.Member, req *kringv1.CountCopiesRequest) NodeCopies {
	n, kerr := c.pool.node(m)
	if kerr != nil {
		return NodeCopies{Node: m.Node, Err: kerr}
	}
	resp, err := n.client.CountCopies(ctx, req)
	return NodeCopies{Node: m.Node, Copies: resp.GetCopies(), Err: kverr.FromGRPC(err)}
}
