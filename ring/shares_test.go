package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestZoneLevels(t *testing.T) {
	for _, test := range []struct {
		sizes     []int
		copies    int
		low, high []int
	}{
		{[]int{3, 3, 3}, 3, []int{0, 0, 0}, []int{1, 1, 1}},
		{[]int{5, 5}, 3, []int{1, 1}, []int{2, 2}},
		{[]int{1, 5}, 3, []int{1, 1}, []int{1, 2}},
		{[]int{1, 1, 5}, 5, []int{1, 1, 2}, []int{1, 1, 3}},
		{[]int{9}, 3, []int{2}, []int{3}},
		{[]int{2, 0}, 3, []int{1, 0}, []int{2, 0}}, // fewer nodes than copies; an empty zone
		{[]int{0}, 3, []int{0}, []int{0}},
	} {
		low, high := zoneLevels(test.sizes, test.copies)
		require.Equal(t, test.low, low, "%v", test.sizes)
		require.Equal(t, test.high, high, "%v", test.sizes)
	}
}

func TestShares(t *testing.T) {
	share := func(partitions, copies int, members []Member) map[NodeID]float64 {
		p, err := newPlan(testSettings(uint32(partitions), uint32(copies)), members, PlanOptions{}, false)
		require.NoError(t, err)
		shares := make(map[NodeID]float64)
		for i := range p.nodes {
			shares[p.nodes[i].replica.Node] = p.nodes[i].share
		}
		return shares
	}
	require.Equal(t, map[NodeID]float64{"n1": 768, "n2": 768, "n3": 768, "n4": 768}, share(1024, 3, testMembers(4)))

	small := share(600, 3, zonedMembers(6, 2, 2))
	require.Equal(t, 100.0, small["n1"], "each zone has every partition once: six nodes divide that")
	require.Equal(t, 300.0, small["n7"])

	heavy := testMembers(4)
	heavy[0].Weight = 10000
	shares := share(100, 3, heavy)
	require.Equal(t, 100.0, shares["n1"], "no node holds a partition twice, whatever its weight")
	require.InDelta(t, 66.67, shares["n2"], 0.01)

	leaving := testMembers(4)
	leaving[3].State = MemberDraining
	require.Equal(t, map[NodeID]float64{"n1": 50, "n2": 50, "n3": 50, "n4": 0}, share(50, 3, leaving))
}

func TestSharesAddUpAndFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 12), 1, 6).Draw(t, "zones")
		members := zonedMembers(sizes...)
		for i := range members {
			members[i].Weight = rapid.SampledFrom([]uint32{0, 1, 50, 100, 200, 1000}).Draw(t, "weight")
		}
		copies := rapid.IntRange(1, MaxReplicas).Draw(t, "copies")
		p, err := newPlan(testSettings(256, uint32(copies)), members, PlanOptions{}, false)
		require.NoError(t, err)
		total, byZone := 0.0, make([]float64, p.zones)
		zoneSizes := make([]int, p.zones)
		for i := range p.nodes {
			n := &p.nodes[i]
			require.LessOrEqual(t, n.share, 256.0)
			require.Positive(t, n.share)
			total += n.share
			byZone[n.zone] += n.share
			zoneSizes[n.zone]++
		}
		require.InDelta(t, float64(256*min(copies, len(members))), total, 0.01)
		low, high := zoneLevels(zoneSizes, copies)
		for z := range byZone {
			require.GreaterOrEqual(t, byZone[z], float64(256*low[z])-0.01)
			require.LessOrEqual(t, byZone[z], float64(256*high[z])+0.01)
		}
	})
}
