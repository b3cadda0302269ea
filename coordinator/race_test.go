//go:build race

package coordinator

import "time"

// Everything takes ten times as long here.
const (
	testRaftTimeout = 3 * time.Second
	testsAtOnce     = "2"
)
