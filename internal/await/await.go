// Package await lets tests wait for what no channel tells of.
package await

import (
	"testing"
	"time"
)

const (
	// patience is longer than anything takes on the busiest machine: it is spent only where a test fails.
	patience = 2 * time.Minute
	every    = 2 * time.Millisecond
)

// Until returns once condition holds, and fails the test if it does not within two minutes. condition is called by the test's own
// goroutine, so it may fail the test too, and is never at work when Until has returned. It is asked no more than half of the time.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for began := time.Now(); ; {
		asked := time.Now()
		if condition() {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(max(every, time.Since(asked)))
	}
}
