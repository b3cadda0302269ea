package coordinator

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// Zones of 3, 3 and 3 nodes, and of 4, 3 and 3: no partition has two copies in one zone while another has a node to spare, from
// the beginning through a join, a death and a return, in whichever zone.
func TestZonesAreKeptApart(t *testing.T) {
	for _, sizes := range [][]int{{3, 3, 3}, {4, 3, 3}} {
		for grown := range sizes {
			t.Run(fmt.Sprintf("%v, zone %d grows", sizes, grown), func(t *testing.T) {
				w := newZonedWorld(t, sizes)
				w.checkZones()
				require.Zero(t, crowded(w.table), "laid out")

				w.set(w.memberIn(grown))
				w.restWithin("joined")
				for zone := range sizes {
					w.dieAndReturn(zone)
				}
			})
		}
	}
}

// dieAndReturn has a node of the zone stay away until all its copies are elsewhere, and come back.
func (w *world) dieAndReturn(zone int) {
	at := slices.IndexFunc(w.table.Members, func(m ring.Member) bool { return m.Zone == zoneName(zone) })
	dead := w.table.Members[at].Node
	w.view[dead] = condition{health: failed}
	for range outAfterLooks {
		w.lookAround()
	}
	w.restWithin("dead for good: " + string(dead))
	require.Zero(w.t, countCopies(w.table)[dead])
	w.view[dead] = condition{}
	w.restWithin("back")
	require.Positive(w.t, countCopies(w.table)[dead])
}

// newZonedWorld has so many nodes in each zone.
func newZonedWorld(t *testing.T, sizes []int) *world {
	settings := ring.Settings{ClusterID: "k", Partitions: 256, Replicas: 3, MinInSync: 2}
	var zones []string
	for zone, size := range sizes {
		zones = append(zones, slices.Repeat([]string{zoneName(zone)}, size)...)
	}
	w := newWorld(t, 1, settings, []string{""}, len(zones))
	for i, zone := range zones {
		m := w.table.Members[i]
		m.Zone = zone
		w.set(m)
	}
	var err error
	w.table.Partitions, err = ring.Initial(settings, w.table.Members)
	require.NoError(t, err)
	return w
}

func zoneName(zone int) string { return string(rune('a' + zone)) }

func (w *world) memberIn(zone int) ring.Member {
	m := w.newMember()
	m.Zone = zoneName(zone)
	return m
}

func (w *world) restWithin(what string) {
	w.t.Helper()
	looks := w.settle(20000)
	w.checkZones()
	w.verify()
	require.Zero(w.t, crowded(w.table), what)
	w.t.Logf("%s: %d copies moved in all, %d looks", what, w.began, looks)
}

// crowded counts the partitions with two copies in one zone. Here there are three copies and three zones that live, so each of them
// could be avoided.
func crowded(t *ring.Table) (n int) {
	for i := range t.Partitions {
		seen := map[string]bool{}
		for _, r := range t.Partitions[i].InSync {
			zone := t.Member(r.Node).Zone
			if seen[zone] {
				n++
				break
			}
			seen[zone] = true
		}
	}
	return n
}
