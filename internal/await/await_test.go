package await_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
)

// failing is a test that notes how it failed.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		await.Until(t, "a minute", func() bool { return time.Since(began) >= time.Minute })
		require.Less(t, time.Since(began), time.Minute+time.Second)

		f := &failing{}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			await.Until(f, "nothing", func() bool { return false })
		}()
		<-ended
		require.Equal(t, "not in time: nothing", f.said)

		// What takes long is not asked all the time.
		began = time.Now()
		asked := 0
		await.Until(t, "ten looks", func() bool { asked++; <-time.After(time.Second); return asked == 10 })
		require.GreaterOrEqual(t, time.Since(began), 19*time.Second)
	})
}
