package node

import (
	"golang.org/x/sys/unix"

	"github.com/kringdb/kring/node/replica"
)

// now reads the clock that leases are measured with. It counts the time that the machine is suspended, which Go's own
// monotonic clock does not: a lease must not outlive a laptop's lid (rule 16).
func now() replica.Time {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("node: CLOCK_BOOTTIME: " + err.Error()) // Linux has it since 2.6.39
	}
	return replica.Time(t.Nano())
}
