package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// A node's zone can be set to none: that is not the same as what the node was started with, neither after a restart of it, nor in a
// snapshot, nor for a cancel.
func TestZoneSetToNone(t *testing.T) {
	s := formedScribe(t)
	zone := func() string { return s.state.table.Member("n2").Zone }
	starts := func(boot uint64, zone string) {
		restarted := newNode(2).member
		restarted.BootCount, restarted.Zone = boot, zone
		s.must(registerCommand("k", restarted))
	}
	starts(2, "a")
	require.Equal(t, "a", zone())

	none := &kringv1.Operation{Kind: opZone, NodeId: "n2", NoZone: true}
	s.must(startCommand(none, "token"))
	require.Empty(t, zone())
	err := s.apply(startCommand(&kringv1.Operation{Kind: opZone, NodeId: "n2"}, "token"))
	require.Equal(t, kverr.IdempotencyMismatch, kverr.CodeOf(err), "as it was started with is something else")
	s.throughSnapshot()
	starts(3, "c")
	require.Empty(t, zone(), "it counts instead of what the node says")

	set := s.start(&kringv1.Operation{Kind: opZone, NodeId: "n2", Zone: "b"})
	require.Equal(t, "b", zone())
	s.throughSnapshot()
	s.must(opChangeCommand(set.Id, opCanceled, ""))
	require.Empty(t, zone(), "none was set before")
	starts(4, "a")
	require.Empty(t, zone())

	started := s.start(&kringv1.Operation{Kind: opZone, NodeId: "n2"})
	require.Equal(t, "a", zone(), "as the node says")
	require.Empty(t, s.state.overrides)
	s.must(opChangeCommand(started.Id, opCanceled, ""))
	require.Empty(t, zone(), "none was set before")

	back := s.start(&kringv1.Operation{Kind: opZone, NodeId: "n2", Zone: "b"})
	starts(5, "")
	s.must(opChangeCommand(back.Id, opCanceled, ""))
	require.Empty(t, s.state.overrides, "none is what the node says by now")
	require.ErrorContains(t, s.apply(startCommand(&kringv1.Operation{Kind: opZone, NodeId: "n2", Zone: "b", NoZone: true}, "")), "one of them")
}

// A node that counts for no zone in a newer table than the coordinators', and was started with one, was set so.
func TestNoZoneIsFoundInANewerTable(t *testing.T) {
	e := allAnswer()
	newer := old()
	newer.Version = 20
	e.records["n2"].table, e.records["n2"].version = newer, 20
	e.records["n1"].member.Zone, e.records["n3"].member.Zone = "a", ""
	f := e.find()
	require.Equal(t, map[ring.NodeID]override{"n1": {noZone: true, registeredWeight: ring.DefaultWeight, registeredZone: "a"}}, f.overrides)
	require.Empty(t, f.table.Member("n1").Zone)
}
