package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// twin is a Backend in memory: one copy, versions counted over all keys.
type twin struct {
	mu      sync.Mutex
	values  map[string]client.Value
	answers map[string]twinAnswer // by key and idempotency key
	version uint64
	table   *ring.Table
	newer   []ring.Partition // laid over table, as nodes tell of them
	stats   client.Stats
	cluster *kringv1.GetClusterResponse                       // nil: no coordinator answers
	silent  ring.NodeID                                       // does not count its copies
	left    map[ring.NodeID]*kringv1.CountCopiesResponse_Copy // what nodes say of every partition, if not nil
	recover *kringv1.RecoverPartitionsRequest                 // the last one

	// before runs ahead of every call for a key; an error of its is the answer.
	before func(ctx context.Context, op string, key []byte) error
}

func newTwin() *twin {
	n := func(id ring.NodeID) ring.Replica { return ring.Replica{Node: id, Store: ring.StoreID(len(id)) << 60} }
	members := []ring.Member{
		{Node: "n1", Store: n("n1").Store, Boot: 1, Address: "127.0.0.1:7101", Weight: 100, State: ring.MemberUp},
		{Node: "n2", Store: n("n2").Store, Boot: 1, Address: "127.0.0.1:7102", Zone: "east", Weight: 100, State: ring.MemberUp},
		{Node: "n3", Store: n("n3").Store, Boot: 2, Address: "127.0.0.1:7103", Weight: 100, State: ring.MemberUp},
	}
	t := &ring.Table{
		Version: 42, Settings: ring.Settings{ClusterID: "k-test", Partitions: 4, Replicas: 3, MinInSync: 2}, Members: members,
	}
	in := []ring.Replica{n("n1"), n("n2"), n("n3")}
	for i := range 4 {
		t.Partitions = append(t.Partitions, ring.Partition{
			ID: ring.PartitionID(i), Epoch: ring.NewEpoch(0, uint64(i+1)), Primary: in[i%3], InSync: in,
		})
	}
	return &twin{values: make(map[string]client.Value), answers: make(map[string]twinAnswer), table: t, cluster: twinCluster()}
}

func twinCluster() *kringv1.GetClusterResponse {
	node := func(id, address, zone string, boot uint64) *kringv1.NodeInfo {
		return &kringv1.NodeInfo{
			Member: &kringv1.Member{
				NodeId: id, StoreId: 2 << 60, BootCount: boot, Address: address, Zone: zone, Weight: 100,
				State: kringv1.MemberState_MEMBER_STATE_UP,
			},
			Load: &kringv1.Load{ReadsPerSecond: 10}, LastHeartbeatMillisAgo: 20, GossipAlive: true,
			Primaries: 1, Copies: 4, StateSinceUnixMillis: 1_700_000_000_000, TableVersion: 42,
		}
	}
	return &kringv1.GetClusterResponse{
		Settings:     &kringv1.Settings{ClusterId: "k-test", Partitions: 4, Replicas: 3, MinInSync: 2},
		TableVersion: 42, Formed: true,
		Coordinators: []*kringv1.CoordinatorInfo{{Id: "c1", Address: "127.0.0.1:7001", Leader: true, Alive: true, AppliedIndex: 42}},
		Nodes: []*kringv1.NodeInfo{
			node("n1", "127.0.0.1:7101", "", 1), node("n2", "127.0.0.1:7102", "east", 1), node("n3", "127.0.0.1:7103", "", 2),
		},
		Gateways: []*kringv1.GatewayInfo{{Id: "g1", HttpAddress: "127.0.0.1:8080", LastHeartbeatMillisAgo: 30}},
	}
}

// partition is not the real hash: the twin only has to be steady.
func (t *twin) partition(key []byte) *ring.Partition {
	sum := 0
	for _, b := range key {
		sum += int(b)
	}
	return &t.table.Partitions[sum%len(t.table.Partitions)]
}

func (t *twin) enter(ctx context.Context, op string, key []byte) (client.Result, error) {
	p := t.partition(key)
	r := client.Result{Partition: p.ID, Epoch: p.Epoch, Node: p.Primary.Node, Attempts: 1}
	if t.before != nil {
		if err := t.before(ctx, op, key); err != nil {
			return r, err
		}
	}
	return r, ctx.Err()
}

func (t *twin) Get(ctx context.Context, key []byte, _ ...client.Option) (client.Value, error) {
	r, err := t.enter(ctx, "get", key)
	if err != nil {
		return client.Value{Result: r}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[string(key)]
	if !ok {
		return client.Value{Result: r}, &kverr.Error{Code: kverr.NotFound}
	}
	r.Version = v.Version
	v.Result = r
	return v, nil
}

func (t *twin) Head(ctx context.Context, key []byte, options ...client.Option) (client.Value, error) {
	v, err := t.Get(ctx, key, options...)
	v.Value = nil
	return v, err
}

// judge is the node's part: all that is set must hold.
func judge(c client.Condition, version uint64) error {
	exists := version != 0
	ok := (!c.IfExists || exists) && (!c.IfAbsent || !exists) &&
		(len(c.IfVersions) == 0 || exists && slices.Contains(c.IfVersions, version)) &&
		(!exists || !slices.Contains(c.IfNotVersions, version))
	if ok {
		return nil
	}
	return &kverr.Error{Code: kverr.PreconditionFailed, Version: version}
}

// twinAnswer is what a mutation with an idempotency key was answered.
type twinAnswer struct {
	hash   string
	result client.Result
	number int64
}

// mutate runs a mutation that apply carries out, once an idempotency key. apply finds the old value and sets the new version.
func (t *twin) mutate(
	ctx context.Context, op string, key []byte, options []client.Option,
	apply func(asked *client.Asked, old client.Value, r *client.Result) (int64, error),
) (int64, client.Result, error) {
	r, err := t.enter(ctx, op, key)
	if err != nil {
		return 0, r, err
	}
	asked := client.AskedBy(options...)
	t.mu.Lock()
	defer t.mu.Unlock()
	record := fmt.Sprintf("%q %q", key, asked.IdempotencyKey)
	if a, ok := t.answers[record]; ok {
		if a.hash != string(asked.IdempotencyHash) {
			return 0, r, kverr.New(kverr.IdempotencyMismatch, "the idempotency key was used for another request")
		}
		a.result.Replayed = true
		return a.number, a.result, nil
	}
	old := t.values[string(key)]
	if err := judge(asked.Condition, old.Version); err != nil {
		return 0, r, err
	}
	number, err := apply(&asked, old, &r)
	if err == nil && asked.IdempotencyKey != "" {
		t.answers[record] = twinAnswer{string(asked.IdempotencyHash), r, number}
	}
	return number, r, err
}

// next is the version of the next mutation.
func (t *twin) next() uint64 {
	t.version++
	return t.version
}

func (t *twin) Put(ctx context.Context, key, value []byte, options ...client.Option) (client.Result, error) {
	_, r, err := t.mutate(ctx, "put", key, options, func(asked *client.Asked, old client.Value, r *client.Result) (int64, error) {
		r.Version, r.Existed = t.next(), old.Version != 0 && asked.WantExisted
		t.values[string(key)] = client.Value{
			Result: *r, Value: bytes.Clone(value), Size: uint64(len(value)), Attributes: asked.Attributes, TTL: asked.TTL,
		}
		return 0, nil
	})
	return r, err
}

func (t *twin) Delete(ctx context.Context, key []byte, options ...client.Option) (client.Result, error) {
	_, r, err := t.mutate(ctx, "delete", key, options, func(_ *client.Asked, _ client.Value, r *client.Result) (int64, error) {
		r.Version = t.next()
		delete(t.values, string(key))
		return 0, nil
	})
	return r, err
}

func (t *twin) Incr(ctx context.Context, key []byte, delta int64, options ...client.Option) (int64, client.Result, error) {
	return t.mutate(ctx, "incr", key, options, func(_ *client.Asked, old client.Value, r *client.Result) (int64, error) {
		number := int64(0)
		if old.Version != 0 {
			var err error
			if number, err = strconv.ParseInt(string(old.Value), 10, 64); err != nil {
				return 0, kverr.New(kverr.NotANumber, "the value is not a decimal number of 64 bits, or would not be one after the increment")
			}
		}
		number += delta
		r.Version = t.next()
		old.Result, old.Value = *r, strconv.AppendInt(nil, number, 10)
		old.Size = uint64(len(old.Value))
		t.values[string(key)] = old
		return number, nil
	})
}

func (t *twin) Table() *ring.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.newer) > 0 {
		return t.table.WithNewer(t.newer...)
	}
	return t.table
}

func (t *twin) CoordinatorsTable() *ring.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table
}

func (t *twin) setTable(table *ring.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table = table
}

func (t *twin) Locate(key []byte) client.Location {
	return client.Location{
		Partition: *t.partition(key), Preferred: "n2", Members: t.table.Members, TableVersion: t.table.Version,
	}
}

func (t *twin) Cluster(context.Context) (*kringv1.GetClusterResponse, error) {
	if t.cluster == nil {
		return nil, kverr.New(kverr.Unavailable, "no coordinator answers")
	}
	return t.cluster, nil
}

func (t *twin) CountCopies(context.Context, ...ring.PartitionID) []client.NodeCopies {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make(map[ring.PartitionID]uint64)
	for key := range t.values {
		keys[t.partition([]byte(key)).ID]++
	}
	var out []client.NodeCopies
	for _, m := range t.table.Members {
		if m.Node == t.silent {
			out = append(out, client.NodeCopies{Node: m.Node, Err: errors.New("connection refused")})
			continue
		}
		answer := client.NodeCopies{Node: m.Node}
		for i := range t.table.Partitions {
			if t.left != nil {
				c := proto.CloneOf(t.left[m.Node])
				c.Partition = uint32(i)
				answer.Copies = append(answer.Copies, c)
				continue
			}
			n := keys[ring.PartitionID(i)]
			answer.Copies = append(answer.Copies, &kringv1.CountCopiesResponse_Copy{
				Partition: uint32(i), Keys: n, Applied: n, Digest: n * 77, Last: n, LastEpoch: 1, StoreId: uint64(m.Store),
			})
		}
		out = append(out, answer)
	}
	return out
}

// RecoverPartitions decides what is offline.
func (t *twin) RecoverPartitions(
	_ context.Context, req *kringv1.RecoverPartitionsRequest,
) (*kringv1.RecoverPartitionsResponse, error) {
	t.recover = req
	offline := make(map[uint32]bool)
	for _, p := range t.cluster.GetProblems() {
		offline[p.GetPartition()] = p.GetKind() == kringv1.PartitionProblem_KIND_OFFLINE
	}
	resp := &kringv1.RecoverPartitionsResponse{TableVersion: 43}
	for _, item := range req.GetItems() {
		result := &kringv1.RecoverPartitionsResponse_Result{
			Code: kverr.Conflict, Message: fmt.Sprintf("partition %d: an in-sync copy is not lost: n2/2000000000000000", item.GetPartition()),
		}
		if offline[item.GetPartition()] {
			result = &kringv1.RecoverPartitionsResponse_Result{Decided: &kringv1.Partition{
				Id: item.GetPartition(), Epoch: item.GetExpectedEpoch() + 1, Primary: item.GetChosen(),
				InSync: []*kringv1.Replica{item.GetChosen()}, SeqFloor: item.GetHighestKnownSeq() + ring.OverrideGap,
			}}
		}
		resp.Results = append(resp.Results, result)
	}
	return resp, nil
}

func (t *twin) Stats() client.Stats {
	s := t.stats
	s.TableVersion = 42
	return s
}

// put is a shortcut past HTTP.
func (t *twin) put(key, value string, a client.Attributes) uint64 {
	r, err := t.Put(context.Background(), []byte(key), []byte(value), client.WithAttributes(a))
	if err != nil {
		panic(err)
	}
	return r.Version
}

func kverrCodes() map[int32]string { return kringv1.ErrorCode_name }
