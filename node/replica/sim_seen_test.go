package replica

import (
	"fmt"
	"strings"

	"github.com/kringdb/kring/ring"
)

// sighting is something that runs have to go through to mean anything.
type sighting int

const (
	sawCrash sighting = iota
	sawWipe
	sawPromotion
	sawRelease
	sawAddition
	sawReplacement // an addition and a removal in one
	sawDemotion
	sawContinued // an open primary went on under the next epoch
	sawSnapshot
	sawBroken // a snapshot that was broken off
	sawFlip
	sawDrop
	sawEmptied // a copy that nobody counted on was dropped
	sawRestore
	sawLeft
	sawRepeat
	sawTooOld
	sawForgotten
	sawExpiry
	sawStuck // a change was asked for because of a disk that hangs
	sawOverride
	sawLoss // an override that has cost committed entries
	sightings
)

var sightingNames = [sightings]string{
	"crashes", "lost disks", "promotions", "handovers", "additions", "replacements", "demotions", "continued epochs",
	"snapshots", "broken snapshots", "flips", "dropped generations", "dropped copies", "restored coordinators", "clean stops", "repeats", "requests too old", "forgotten requests", "expiries", "disks got out of the way",
	"overrides", "losses",
}

func (w *world) saw(s sighting) { w.seen[s]++ }

// sawDecision classes a change of one partition.
func (w *world) sawDecision(before, after *ring.Partition) {
	added, removed := false, false
	for _, r := range after.InSync {
		added = added || !before.IsInSync(r)
	}
	for _, r := range before.InSync {
		removed = removed || !after.IsInSync(r)
	}
	switch {
	case after.Released:
		w.saw(sawRelease)
	case after.Primary != before.Primary:
		w.saw(sawPromotion)
	case added && removed:
		w.saw(sawReplacement)
	case added:
		w.saw(sawAddition)
	case removed:
		w.saw(sawDemotion)
	}
}

func describeSeen(seen *[sightings]int, runs int) string {
	var out []string
	for s, count := range seen {
		out = append(out, fmt.Sprintf("%d %s", count, sightingNames[s]))
	}
	return fmt.Sprintf("%d runs: %s", runs, strings.Join(out, ", "))
}
