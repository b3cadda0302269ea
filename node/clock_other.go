//go:build !linux

package node

import (
	"time"

	"github.com/kringdb/kring/node/replica"
)

var started = time.Now()

// now reads the clock that leases are measured with. Where the system has no clock that counts suspend, a machine that is
// suspended while it leads may answer with a lease that has run out: do not suspend it.
func now() replica.Time { return replica.Time(time.Since(started)) + 1 }
