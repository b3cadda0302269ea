package coordinator

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

func decodeFrame(t *testing.T, f frame) *kringv1.WatchRingResponse {
	t.Helper()
	var resp kringv1.WatchRingResponse
	require.NoError(t, resp.UnmarshalVT(f.encoded.Materialize()))
	return &resp
}

// Frames bring whoever holds a version, or nothing, to the newest table; those who hold the same get the same bytes.
func TestFramesAreShared(t *testing.T) {
	f := newFeed()
	first := formedTable(16, 5)
	second := first.WithMember(first.Version+1, ring.Member{Node: "n9", Store: 9, Boot: 1, Address: "x", State: ring.MemberUp})
	f.publish(first)
	f.publish(second)
	whole, err := f.frame(frameKey{leader: "c1"})
	require.NoError(t, err)
	got, err := ringpb.ToTable(decodeFrame(t, whole).GetTable())
	require.NoError(t, err)
	require.Equal(t, second, got)
	require.Equal(t, second.Version, whole.version)

	next, err := f.frame(frameKey{from: first.Version, resumed: true, leader: "c1"})
	require.NoError(t, err)
	resp := decodeFrame(t, next)
	require.Equal(t, "c1", resp.GetLeaderId())
	got, err = ring.Apply(first, ringpb.ToChange(resp.GetChange()))
	require.NoError(t, err)
	require.Equal(t, second, got)
	again, err := f.frame(frameKey{from: first.Version, resumed: true, leader: "c1"})
	require.NoError(t, err)
	require.Same(t, &next.encoded[0].ReadOnlyData()[0], &again.encoded[0].ReadOnlyData()[0], "encoded twice")

	other, err := f.frame(frameKey{from: first.Version, resumed: true, leader: "c2"})
	require.NoError(t, err)
	require.Equal(t, "c2", decodeFrame(t, other).GetLeaderId(), "the leader of long ago")
	nothing, err := f.frame(frameKey{from: second.Version, resumed: true, leader: "c1"})
	require.NoError(t, err)
	require.Nil(t, decodeFrame(t, nothing).GetUpdate())
	unknown, err := f.frame(frameKey{from: second.Version + 7, resumed: true, leader: "c1"})
	require.NoError(t, err)
	require.NotNil(t, decodeFrame(t, unknown).GetTable(), "a version that is not remembered")

	third := second.WithoutMember(second.Version+1, "n9")
	f.publish(third)
	next, err = f.frame(frameKey{from: first.Version, resumed: true, leader: "c1"})
	require.NoError(t, err)
	require.Equal(t, third.Version, next.version, "bytes of before the change")
	for i := range 3 * maxFrames {
		_, err = f.frame(frameKey{leader: fmt.Sprint(i)})
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(f.frames), maxFrames)
}

// formedTable is a table of some nodes and partitions, three copies each.
func formedTable(partitions, nodes int) *ring.Table {
	t := &ring.Table{Version: 1, Settings: ring.Settings{ClusterID: "k", Partitions: uint32(partitions), Replicas: 3, MinInSync: 2}}
	for i := range nodes {
		t.Members = append(t.Members, ring.Member{
			Node: ring.NodeID(fmt.Sprintf("n%04d", i)), Store: ring.StoreID(1000 + i), Boot: 1, Address: fmt.Sprintf("10.0.%d.%d:7200", i/256, i%256),
			Weight: ring.DefaultWeight, State: ring.MemberUp,
		})
	}
	for i := range partitions {
		p := ring.Partition{ID: ring.PartitionID(i), Epoch: ring.NewEpoch(0, 1)}
		for j := range 3 {
			p.InSync = append(p.InSync, t.Members[(i+j)%nodes].Replica())
		}
		slices.SortFunc(p.InSync, byNode)
		p.Primary = p.InSync[0]
		t.Partitions = append(t.Partitions, p)
	}
	return t
}

// BenchmarkFrames is what one watcher costs when the table changes: the first of its kind, and every other.
func BenchmarkFrames(b *testing.B) {
	table := formedTable(16384, 1000)
	next := make([]ring.Partition, 49) // one node's
	for i := range next {
		next[i] = table.Partitions[i*300]
		next[i].Epoch = ring.NewEpoch(0, 2)
	}
	f := newFeed()
	f.publish(table)
	f.publish(table.WithPartitions(2, next...))
	for name, key := range map[string]frameKey{"change": {from: 1, resumed: true}, "whole": {}} {
		for _, shared := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/shared=%t", name, shared), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !shared {
						clear(f.frames)
					}
					if _, err := f.frame(key); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
