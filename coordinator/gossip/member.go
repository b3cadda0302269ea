package gossip

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Member is a process as gossip knows it: the newest boot of its role and id.
type Member struct {
	ID          string
	Role        Role
	Alive       bool      // gossip's word: a hint
	Leaving     bool      // it announced a clean stop
	Since       time.Time // of Alive, by the local clock
	BootID      uint64    // random at every start of the process
	BootCount   uint64    // nodes: of the data directory; 0: none
	Started     time.Time // by its own clock
	Address     string    // gossip, "IP:PORT"
	GRPCAddress string    // "IP:PORT"
	RaftAddress string    // "IP:PORT", coordinators
	Disk        Disk      // coordinators
	FreshSeen   uint64    // coordinators: see kringv1.GossipMeta
	Rivals      int       // other live boots under the same role and id: a restart a moment ago, or two processes with one id
}

// name is what a member is told apart by, through all its boots. Processes of different roles may share an id.
type name struct {
	role Role
	id   string
}

func (m *Member) name() name { return name{m.Role, m.ID} }

func encodeMeta(m *kringv1.GossipMeta) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("gossip: metadata: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("gossip: metadata of %q has %d bytes, at most %d fit: shorten the id or the addresses",
			m.GetId(), len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

func decodeMember(n *memberlist.Node) (Member, error) {
	var meta kringv1.GossipMeta
	if err := proto.Unmarshal(n.Meta, &meta); err != nil {
		return Member{}, fmt.Errorf("metadata of %q: %w", n.Name, err)
	}
	if named := memberName(Role(meta.GetRole()), meta.GetId(), meta.GetBootId()); n.Name != named {
		return Member{}, fmt.Errorf("metadata of %q names %q", n.Name, named)
	}
	ip, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return Member{}, fmt.Errorf("address of %q has %d bytes", n.Name, len(n.Addr))
	}
	return Member{
		ID: meta.GetId(), Role: Role(meta.GetRole()), Leaving: meta.GetLeaving(),
		BootID: meta.GetBootId(), BootCount: meta.GetBootCount(), Started: time.UnixMilli(meta.GetStartedUnixMillis()),
		Address:     netip.AddrPortFrom(ip.Unmap(), n.Port).String(),
		GRPCAddress: meta.GetGrpcAddress(), RaftAddress: meta.GetRaftAddress(),
		Disk: Disk(meta.GetDisk()), FreshSeen: meta.GetFreshSeen(),
	}, nil
}

func memberName(role Role, id string, boot uint64) string {
	return fmt.Sprintf("%s/%s/%016x", role, id, boot)
}

// newest picks the boot of a name that counts: alive before dead, then the one started last. Clocks that run back between
// two starts can mislead it until the older boot is noticed dead, a second or so.
func newest(a, b *Member) int {
	if a.Alive != b.Alive {
		if a.Alive {
			return 1
		}
		return -1
	}
	if c := a.Started.Compare(b.Started); c != 0 {
		return c
	}
	return cmp.Compare(a.BootID, b.BootID)
}

// collapse makes one Member of each role and id out of all boots, sorted by id, then by role.
func collapse(boots map[string]Member) []Member {
	byName := make(map[name]Member, len(boots))
	live := make(map[name]int, len(boots))
	for _, m := range boots {
		if m.Alive {
			live[m.name()]++
		}
		if old, ok := byName[m.name()]; !ok || newest(&m, &old) > 0 {
			byName[m.name()] = m
		}
	}
	out := make([]Member, 0, len(byName))
	for n, m := range byName {
		if m.Alive {
			m.Rivals = live[n] - 1
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Role, b.Role)) })
	return out
}
