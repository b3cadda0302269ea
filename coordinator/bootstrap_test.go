package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/coordinator/gossip"
)

func freshMember(id string) gossip.Member {
	return gossip.Member{ID: id, Role: gossip.RoleCoordinator, Alive: true, Disk: gossip.DiskFresh, RaftAddress: id + ":1"}
}

// told lets all of them tell the digest that they would see.
func told(members ...gossip.Member) []gossip.Member {
	digest := takeCensus(members[0].ID, len(members), "s", members).fresh
	for i := range members {
		members[i].FreshSeen = digest
	}
	return members
}

func TestCensus(t *testing.T) {
	three := func() []gossip.Member { return told(freshMember("c1"), freshMember("c2"), freshMember("c3")) }
	for name, test := range map[string]struct {
		expected int
		spoil    func([]gossip.Member) []gossip.Member
		waiting  string // "": complete
	}{
		"complete": {3, func(m []gossip.Member) []gossip.Member { return m }, ""},
		"others present": {3, func(m []gossip.Member) []gossip.Member {
			return append(m, gossip.Member{ID: "n1", Role: gossip.RoleNode, Alive: true})
		}, ""},
		"one missing": {3, func(m []gossip.Member) []gossip.Member { return m[:2] }, "2 of 3 coordinators are there (c1, c2): start 1 more"},
		"one dead":    {3, func(m []gossip.Member) []gossip.Member { m[2].Alive = false; return m }, "start 1 more"},
		"one leaving": {3, func(m []gossip.Member) []gossip.Member { m[2].Leaving = true; return m }, "start 1 more"},
		"one too many": {3, func(m []gossip.Member) []gossip.Member { return append(m, freshMember("c4")) },
			"4 coordinators are there"},
		"one with data": {3, func(m []gossip.Member) []gossip.Member { m[1].Disk = gossip.DiskUsed; return m },
			"coordinator c2 has the data of a cluster"},
		"one still opening": {3, func(m []gossip.Member) []gossip.Member { m[1].Disk = gossip.DiskUnknown; return m },
			"coordinator c2 is starting"},
		"one twice": {3, func(m []gossip.Member) []gossip.Member { m[1].Rivals = 1; return m }, "coordinator c2 is seen twice"},
		"one sees other": {3, func(m []gossip.Member) []gossip.Member { m[1].FreshSeen = 5; return m },
			"coordinator c2 does not see the same"},
		"one has told nothing": {3, func(m []gossip.Member) []gossip.Member { m[2].FreshSeen = 0; return m },
			"coordinator c3 does not see the same"},
		"others moved": {3, func(m []gossip.Member) []gossip.Member { m[2].RaftAddress = "elsewhere:1"; return m },
			"coordinator c2, c3 does not see the same"},
		"other expectation": {5, func(m []gossip.Member) []gossip.Member { return m }, "3 of 5"},
	} {
		t.Run(name, func(t *testing.T) {
			c := takeCensus("c1", test.expected, "s", test.spoil(three()))
			if test.waiting == "" {
				require.Empty(t, c.waiting)
				require.Len(t, c.members, 3)
				require.Equal(t, "c1", c.members[0].ID)
				return
			}
			require.Contains(t, c.waiting, test.waiting)
		})
	}
	require.Contains(t, takeCensus("c1", 3, "other settings", three()).waiting, "other settings")
}
