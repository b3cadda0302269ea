//go:build race

package coordinator

import "time"

// Everything takes ten times as long here.
const (
	testRaftTimeout = 3 * time.Second
	testsAtOnce     = "2"
	raceFactor      = 10 // how much longer than without the detector everything takes
)
