package gateway

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const recoverPath = "/v1/cluster/recover"

// lost is a gateway of a cluster in which partitions 1 and 3 are offline, n3 says nothing, n1 knows more than n2.
func lost(t *testing.T) *harness {
	h := start(t)
	for _, p := range []uint32{1, 3} {
		h.twin.cluster.Problems = append(h.twin.cluster.Problems, &kringv1.PartitionProblem{
			Partition: p, Kind: kringv1.PartitionProblem_KIND_OFFLINE, SinceUnixMillis: 1_700_000_060_000,
		})
	}
	h.twin.cluster.Problems = append(h.twin.cluster.Problems, &kringv1.PartitionProblem{
		Partition: 2, Kind: kringv1.PartitionProblem_KIND_LEADERLESS,
	})
	h.twin.silent = "n3"
	h.twin.left = map[ring.NodeID]*kringv1.CountCopiesResponse_Copy{
		"n1": {Keys: 5, Applied: 6, Last: 7, LastEpoch: uint64(ring.NewEpoch(1, 4)), StoreId: 2 << 60, NewestUnixMillis: 1_700_000_000_123},
		"n2": {Keys: 9, Applied: 900, Last: 900, LastEpoch: 3, StoreId: 2 << 60},
	}
	return h
}

func (h *harness) override(body string) (view overriddenView, a *answer) {
	h.t.Helper()
	a = h.do(http.MethodPost, recoverPath, []byte(body), "Content-Type: application/json")
	if a.StatusCode == http.StatusOK {
		require.NoError(h.t, json.Unmarshal(a.body, &view))
	}
	return view, a
}

func TestRecoverLists(t *testing.T) {
	h := lost(t)
	var v offlineView
	h.json(recoverPath, &v)
	require.EqualValues(t, 42, v.TableVersion)
	require.Len(t, v.Partitions, 2, "one without a primary alone is none that is offline")
	require.Len(t, v.Silent, 1)
	require.Equal(t, ring.NodeID("n3"), v.Silent[0].Node)
	p := v.Partitions[1]
	require.EqualValues(t, 3, p.Partition)
	require.Equal(t, "4", p.Epoch)
	require.Equal(t, int64(1_700_000_060), p.Since.Unix())
	require.Len(t, p.InSync, 3)
	newest := time.UnixMilli(1_700_000_000_123).UTC()
	require.Equal(t, []leftCopyView{
		{Node: "n1", Store: "2000000000000000", Applied: 6, Last: 7, LastEpoch: "1.4", Keys: 5, Newest: &newest},
		{Node: "n2", Store: "2000000000000000", Applied: 900, Last: 900, LastEpoch: "3", Keys: 9},
	}, p.Copies, "the later epoch knows more than the longer log")

	h.twin.left["n1"].Last = 0
	v = offlineView{}
	h.json(recoverPath, &v)
	require.Len(t, v.Partitions[0].Copies, 1, "a node that has nothing is none that has a copy")

	h.twin.cluster = twinCluster()
	a := h.json(recoverPath, &v)
	require.Contains(t, string(a.body), `"partitions": []`)
	h.twin.cluster = nil
	require.Equal(t, 503, h.do(http.MethodGet, recoverPath, nil).StatusCode)
}

func TestRecoverDecides(t *testing.T) {
	h := lost(t)
	v, a := h.override(`{"partitions": [
		{"partition": 1, "epoch": "2", "node": "n1", "store": "2000000000000000"},
		{"partition": 2, "epoch": "0.3", "node": "n1", "store": "2000000000000000"},
		{"partition": 3, "epoch": "1.4", "node": "n3", "store": "2000000000000000"}]}`)
	require.Equal(t, 200, a.StatusCode, "%s", a.body)
	require.Len(t, v.Partitions, 3)
	require.Equal(t, "3", v.Partitions[0].Decided.Epoch)
	require.Equal(t, ring.NodeID("n1"), v.Partitions[0].Decided.Primary.Node)
	require.EqualValues(t, 900+ring.OverrideGap, v.Partitions[0].VersionsAbove, "above the highest of all copies, chosen or not")
	require.Empty(t, v.Partitions[0].Error)
	require.Nil(t, v.Partitions[1].Decided)
	require.Contains(t, v.Partitions[1].Error, "an in-sync copy is not lost")
	require.Contains(t, v.Partitions[2].Error, "node n3 does not say what it has: connection refused")
	require.Len(t, h.twin.recover.GetItems(), 2, "what nobody could count is not asked for")
	require.Equal(t, "k-test", h.twin.recover.GetClusterId())
	require.EqualValues(t, ring.NewEpoch(0, 3), h.twin.recover.GetItems()[1].GetExpectedEpoch())

	h.twin.recover = nil
	v, _ = h.override(`{"partitions": [{"partition": 3, "epoch": "4", "node": "n3", "store": "2"}]}`)
	require.Len(t, v.Partitions, 1)
	require.Nil(t, h.twin.recover)
}

func TestRecoverRefusesOtherBodies(t *testing.T) {
	h := lost(t)
	item := `{"partition": 1, "epoch": "2", "node": "n1", "store": "20"}`
	for body, detail := range map[string]string{
		``:                                 "not what is documented",
		`[]`:                               "not what is documented",
		`{}`:                               "names no partition",
		`{"partitions": [` + item + `]} x`: "goes on after",
		`{"all": true}`:                    "unknown field",
		`{"partitions": [{"partition": 1, "epoch": "x", "node": "n1", "store": "20"}]}`:       "epoch",
		`{"partitions": [{"partition": 1, "epoch": "1.x", "node": "n1", "store": "20"}]}`:     "epoch",
		`{"partitions": [{"partition": 1, "epoch": "70000.1", "node": "n1", "store": "20"}]}`: "epoch",
		`{"partitions": [{"partition": 1, "epoch": "2", "node": "", "store": "20"}]}`:         "copy them",
		`{"partitions": [{"partition": 1, "epoch": "2", "node": "n1", "store": "disk"}]}`:     "copy them",
		`{"partitions": [{"partition": -1, "epoch": "2", "node": "n1", "store": "20"}]}`:      "not what is documented",
	} {
		_, a := h.override(body)
		require.Equal(t, 400, a.StatusCode, body)
		require.Contains(t, a.problem(t).Detail, detail, body)
	}
	a := h.do(http.MethodPost, recoverPath, []byte(`{"partitions": [`+item+`]}`), "Origin: http://elsewhere.example", "Sec-Fetch-Site: cross-site")
	require.Equal(t, 403, a.StatusCode)
	require.Nil(t, h.twin.recover, "nothing was asked for")
	require.Equal(t, 405, h.do(http.MethodDelete, recoverPath, nil).StatusCode)
	require.Equal(t, 400, h.do(http.MethodGet, recoverPath+"?x=1", nil).StatusCode)
}

// One that is counting already is not joined by another.
func TestRecoverCountsAlone(t *testing.T) {
	h := lost(t)
	h.gateway.counting.Lock()
	defer h.gateway.counting.Unlock()
	require.Equal(t, 503, h.do(http.MethodGet, recoverPath, nil).StatusCode)
	_, a := h.override(`{"partitions": [{"partition": 1, "epoch": "2", "node": "n1", "store": "20"}]}`)
	require.Equal(t, 503, a.StatusCode)
}
