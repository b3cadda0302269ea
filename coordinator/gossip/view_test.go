package gossip

import (
	"log/slog"
	"testing"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

func testLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func node(t *testing.T, id string, boot uint64) *memberlist.Node {
	t.Helper()
	meta, err := encodeMeta(&kringv1.GossipMeta{Id: id, Role: kringv1.GossipRole_GOSSIP_ROLE_NODE, BootId: boot, StartedUnixMillis: int64(boot)})
	require.NoError(t, err)
	return &memberlist.Node{Name: memberName(RoleNode, id, boot), Addr: []byte{127, 0, 0, 1}, Port: 1, Meta: meta}
}

// Callbacks never block, whoever does not read, and one flag stands for all that was missed.
func TestNobodyIsWaitedFor(t *testing.T) {
	v := newView(testLogger(), nil)
	slow := v.subscribe()
	for boot := range uint64(1000) {
		v.NotifyJoin(node(t, "n1", boot+1))
	}
	<-slow.C
	require.Len(t, v.members(), 1)
	require.EqualValues(t, 1000, v.members()[0].BootID, "the newest boot counts")
	select {
	case <-slow.C:
		require.FailNow(t, "one flag was enough")
	default:
	}
	slow.Close()
	v.NotifyLeave(node(t, "n1", 1000))
	select {
	case <-slow.C:
		require.FailNow(t, "closed")
	default:
	}
	require.EqualValues(t, 999, v.members()[0].BootID, "an older boot that lives counts more than a newer dead one")
}

// A new boot of one role says nothing of the others that share its id.
func TestForgettingStaysWithinARole(t *testing.T) {
	v := newView(testLogger(), nil)
	dead := node(t, "n1", 1)
	v.NotifyJoin(dead)
	v.NotifyLeave(dead)
	meta, err := encodeMeta(&kringv1.GossipMeta{
		Id: "n1", Role: kringv1.GossipRole_GOSSIP_ROLE_GATEWAY, BootId: 2, StartedUnixMillis: 2,
	})
	require.NoError(t, err)
	v.NotifyJoin(&memberlist.Node{Name: memberName(RoleGateway, "n1", 2), Addr: []byte{127, 0, 0, 1}, Port: 1, Meta: meta})
	require.Len(t, v.members(), 2)
	require.Equal(t, RoleNode, v.members()[0].Role)
	require.False(t, v.members()[0].Alive)
}

func TestForgedMetadataIsIgnored(t *testing.T) {
	v := newView(testLogger(), nil)
	n := node(t, "n1", 1)
	n.Name = "node/n2/0000000000000001"
	v.NotifyJoin(n)
	n.Name = "gateway/n1/0000000000000001"
	v.NotifyJoin(n)
	n = node(t, "n1", 1)
	n.Meta = []byte{0xff}
	v.NotifyJoin(n)
	n = node(t, "n1", 1)
	n.Addr = nil
	v.NotifyJoin(n)
	require.Empty(t, v.members())
}
