//go:build !race

package coordinator

import "time"

const (
	// testRaftTimeout is long enough that a leader on a busy machine keeps its lease, which is half of it.
	testRaftTimeout = 1500 * time.Millisecond
	// testsAtOnce is how many tests of clusters run side by side: they wait for elections most of the time.
	testsAtOnce = "4"
	raceFactor  = 1 // how much longer than without the detector everything takes
)
