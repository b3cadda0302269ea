package gateway

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

func (h *harness) json(target string, into any) *answer {
	h.t.Helper()
	a := h.do(http.MethodGet, target, nil)
	require.Equal(h.t, 200, a.StatusCode, "%s: %s", target, a.body)
	require.Equal(h.t, "application/json", a.Header.Get("Content-Type"))
	require.NoError(h.t, json.Unmarshal(a.body, into))
	return a
}

func TestCluster(t *testing.T) {
	h := start(t)
	var v clusterView
	h.json("/v1/cluster", &v)
	require.Equal(t, healthHealthy, v.Health)
	require.True(t, v.CoordinatorsReachable)
	require.Equal(t, countView{Total: 3, Up: 3}, v.Nodes)
	require.Equal(t, 4, v.Partitions.Total)

	// A node that is away lowers health only if it holds copies.
	n3 := h.twin.cluster.GetNodes()[2]
	n3.Member.State = kringv1.MemberState_MEMBER_STATE_DOWN
	for copies, want := range map[uint32]string{0: healthHealthy, 4: healthDegraded} {
		n3.Copies = copies
		v = clusterView{}
		h.json("/v1/cluster", &v)
		require.Equal(t, want, v.Health, "%d copies", copies)
		require.Equal(t, countView{Total: 3, Up: 2}, v.Nodes)
	}
	require.Equal(t, "down", v.NodeProblems[0].Kind)
	n3.Member.State, n3.Copies = kringv1.MemberState_MEMBER_STATE_UP, 4

	// One that may be away, or is about to be, lowers it too; one that only catches up does not.
	for kind, set := range map[string]func(){
		"suspect": func() { n3.Suspect = true }, "leaving": func() { n3.Leaving = true }, "joining": func() { n3.Joining = 7 },
	} {
		n3.Suspect, n3.Leaving, n3.Joining = false, false, 0
		set()
		v = clusterView{}
		h.json("/v1/cluster", &v)
		require.Equal(t, map[bool]string{true: healthHealthy, false: healthDegraded}[kind == "joining"], v.Health, kind)
		require.Equal(t, countView{Total: 3, Up: 3}, v.Nodes)
		require.Equal(t, int(n3.Joining), *v.Partitions.JoiningCopies)
		require.Len(t, v.NodeProblems, 1)
		require.Equal(t, kind, v.NodeProblems[0].Kind)
		require.Equal(t, "n3", v.NodeProblems[0].Node)
	}
	n3.Suspect, n3.Leaving, n3.Joining = false, false, 0

	problem := func(partition uint32, kind kringv1.PartitionProblem_Kind) *kringv1.PartitionProblem {
		return &kringv1.PartitionProblem{Partition: partition, Kind: kind, SinceUnixMillis: 1_700_000_000_123}
	}
	h.twin.cluster.Problems = []*kringv1.PartitionProblem{problem(1, kringv1.PartitionProblem_KIND_UNDER_REPLICATED)}
	v = clusterView{}
	h.json("/v1/cluster", &v)
	require.Equal(t, healthDegraded, v.Health)
	require.Equal(t, 1, *v.Partitions.UnderReplicated)
	require.Equal(t, "under_replicated", v.Problems[0].Kind)
	require.Equal(t, int64(1_700_000_000_123), v.Problems[0].Since.UnixMilli())

	h.twin.cluster.Problems = append(h.twin.cluster.Problems, problem(1, kringv1.PartitionProblem_KIND_LEADERLESS),
		problem(2, kringv1.PartitionProblem_KIND_OFFLINE))
	v = clusterView{}
	h.json("/v1/cluster", &v)
	require.Equal(t, healthPartial, v.Health)
	require.Equal(t, []int{1, 1, 1}, []int{*v.Partitions.UnderReplicated, *v.Partitions.Leaderless, *v.Partitions.Offline})

	h.twin.cluster = &kringv1.GetClusterResponse{WaitingFor: "2 nodes", ExpectedNodes: 5, ExpectedCoordinators: 3}
	v = clusterView{}
	h.json("/v1/cluster", &v)
	require.Equal(t, healthForming, v.Health)
	require.Equal(t, "2 nodes", v.WaitingFor)
	require.Equal(t, uint32(5), v.Nodes.Expected)

	// One coordinator that knows no leader: by what it remembers, and after a restart it remembers nothing.
	for _, formed := range []bool{true, false} {
		h.twin.cluster = twinCluster()
		h.twin.cluster.Coordinators[0].Leader, h.twin.cluster.Formed = false, formed
		h.twin.cluster.WaitingFor = "a leader, none is elected: 1 of 3 coordinators are alive, 2 must be"
		v = clusterView{}
		h.json("/v1/cluster", &v)
		require.Equal(t, healthUnknown, v.Health)
		require.True(t, v.CoordinatorsReachable)
		require.Contains(t, v.WaitingFor, "none is elected")
	}

	h.twin.cluster = nil
	v = clusterView{}
	h.json("/v1/cluster", &v)
	require.Equal(t, healthUnknown, v.Health)
	require.False(t, v.CoordinatorsReachable)
	require.NotEmpty(t, v.CoordinatorsError)
	require.Equal(t, "k-test", v.ClusterID)
	require.Equal(t, 400, h.do(http.MethodGet, "/v1/cluster?x=1", nil).StatusCode)
}

func TestMembers(t *testing.T) {
	h := start(t)
	var v membersView
	h.json("/v1/cluster/members", &v)
	require.Len(t, v.Nodes, 3)
	require.Equal(t, "east", v.Nodes[1].Zone)
	require.Equal(t, 10.0, v.Nodes[0].Report.Load.ReadsPerSecond)
	require.True(t, v.Coordinators[0].Leader)
	require.Equal(t, "g1", v.Gateways[0].ID)

	h.twin.cluster = nil
	v = membersView{}
	h.json("/v1/cluster/members", &v)
	require.False(t, v.CoordinatorsReachable)
	require.Len(t, v.Nodes, 3)
	require.Equal(t, []int{2, 4}, []int{v.Nodes[0].Primaries, v.Nodes[0].Copies})
	require.Nil(t, v.Nodes[0].Report)
}

func TestRing(t *testing.T) {
	h := start(t)
	var v tableView
	a := h.json("/v1/cluster/ring", &v)
	require.Equal(t, `"42"`, a.Header.Get("ETag"))
	require.Len(t, v.Partitions, 4)
	require.Equal(t, "2000000000000000", v.Members[0].Store)
	require.Equal(t, "1", v.Partitions[0].Epoch)
	a = h.do(http.MethodGet, "/v1/cluster/ring", nil, `If-None-Match: "42"`)
	require.Equal(t, 304, a.StatusCode)
	require.Equal(t, `"42"`, a.Header.Get("ETag"))
	require.Equal(t, 412, h.do(http.MethodGet, "/v1/cluster/ring", nil, `If-Match: "41"`).StatusCode)
	next := *h.twin.Table()
	next.Version = 43
	h.twin.setTable(&next)
	a = h.do(http.MethodGet, "/v1/cluster/ring", nil, `If-None-Match: "42"`)
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, `"43"`, a.Header.Get("ETag"))
	require.Contains(t, string(a.body), `"table_version":43`)

	// What a node tells of is routed by, but of one version there is one body.
	moved := next.Partitions[0].Clone()
	moved.Epoch, moved.Primary = moved.Epoch.Next(), moved.InSync[1]
	h.twin.mu.Lock()
	h.twin.newer = []ring.Partition{moved}
	h.twin.mu.Unlock()
	require.Equal(t, moved.Epoch, h.twin.Table().Partitions[0].Epoch)
	again := h.do(http.MethodGet, "/v1/cluster/ring", nil)
	require.Equal(t, `"43"`, again.Header.Get("ETag"))
	require.Equal(t, string(a.body), string(again.body))
}

func TestLocate(t *testing.T) {
	h := start(t)
	for target, key := range map[string][2]string{
		"key=a%2Fb": {"a/b", ""}, "key=a+b": {"a b", ""}, "key_base64=YQ": {"a", ""}, "key_base64=YQ==": {"a", ""},
		"key=%ff%fe": {"", "__4"}, "key_base64=__4": {"", "__4"}, "key=%00": {"\x00", ""},
	} {
		var v locationView
		a := h.json("/v1/cluster/locate?"+target, &v)
		require.Equal(t, key, [2]string{v.Key, v.KeyBase64}, target)
		require.Equal(t, v.Partition.Epoch, a.Header.Get("Kring-Epoch"))
		require.Len(t, v.Partition.InSync, 3)
		require.Len(t, v.Members, 3)
		require.Equal(t, uint64(42), v.TableVersion)
	}
	for _, bad := range []string{"", "?key=", "?key=a&key_base64=YQ", "?key_base64=*", "?key=%zz", "?k=a", "?key=a&key=b"} {
		require.Equal(t, 400, h.do(http.MethodGet, "/v1/cluster/locate"+bad, nil).StatusCode, bad)
	}
}

func TestCopies(t *testing.T) {
	h := start(t)
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		h.twin.put(key, key, client.Attributes{})
	}
	var v copiesView
	h.json("/v1/cluster/copies", &v)
	require.True(t, v.Complete)
	require.Equal(t, []uint64{5, 15}, []uint64{v.Keys, v.KeyCopies})
	require.Len(t, v.Partitions[0].Copies, 3)
	require.Equal(t, "primary", v.Partitions[0].Copies[0].Role)
	require.Empty(t, v.Silent)

	h.twin.silent = "n3"
	v = copiesView{}
	h.json("/v1/cluster/copies", &v)
	require.False(t, v.Complete)
	require.Equal(t, 4, v.Incomplete)
	require.Equal(t, "n3", string(v.Silent[0].Node))

	h.gateway.counting.Lock()
	require.Equal(t, 503, h.do(http.MethodGet, "/v1/cluster/copies", nil).StatusCode)
	h.gateway.counting.Unlock()
}

// TestCopiesWithoutAnIdleNode: a node that is down is missed only if it holds something by the table.
func TestCopiesWithoutAnIdleNode(t *testing.T) {
	for name, c := range map[string]struct {
		state    ring.MemberState
		joining  bool
		complete bool
	}{
		"down, without copies":      {ring.MemberDown, false, true},
		"down, with a joining copy": {ring.MemberDown, true, false},
		"up, without copies":        {ring.MemberUp, false, false},
	} {
		twin := newTwin()
		idle := ring.Member{Node: "n4", Store: 4, Boot: 1, Address: "127.0.0.1:7104", Weight: 100, State: c.state}
		twin.table.Members = append(twin.table.Members, idle)
		twin.silent = "n4"
		if c.joining {
			twin.table.Partitions[1].Joining = []ring.Replica{idle.Replica()}
		}
		v := viewCopies(twin.table, twin.CountCopies(t.Context()))
		require.Equal(t, c.complete, v.Complete, name)
		require.Zero(t, v.Incomplete, name)
		require.Equal(t, []silentView{{"n4", "connection refused"}}, v.Silent, name)
	}
}

func TestCopiesThatDiffer(t *testing.T) {
	table := newTwin().table
	same := func() []client.NodeCopies {
		var out []client.NodeCopies
		for _, m := range table.Members {
			var copies []*kringv1.CountCopiesResponse_Copy
			for i := range table.Partitions {
				copies = append(copies, &kringv1.CountCopiesResponse_Copy{Partition: uint32(i), Keys: 2, Applied: 9, Digest: 5})
			}
			out = append(out, client.NodeCopies{Node: m.Node, Copies: copies})
		}
		return out
	}
	require.True(t, viewCopies(table, same()).Complete)
	for name, spoil := range map[string]func([]client.NodeCopies) []client.NodeCopies{
		"keys":    func(a []client.NodeCopies) []client.NodeCopies { a[1].Copies[2].Keys++; return a },
		"digest":  func(a []client.NodeCopies) []client.NodeCopies { a[1].Copies[2].Digest++; return a },
		"applied": func(a []client.NodeCopies) []client.NodeCopies { a[1].Copies[2].Applied++; return a },
		"missing": func(a []client.NodeCopies) []client.NodeCopies { a[1].Copies = a[1].Copies[1:]; return a },
		"stray": func(a []client.NodeCopies) []client.NodeCopies {
			return append(a, client.NodeCopies{Node: "n9", Copies: a[0].Copies[:1]})
		},
	} {
		v := viewCopies(table, spoil(same()))
		require.False(t, v.Complete, name)
		require.Equal(t, 1, v.Incomplete, name)
	}
}
