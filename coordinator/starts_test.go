package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// A data directory that was set back is refused even after it has been started as often as the original.
func TestADirectoryThatWasSetBackIsRefused(t *testing.T) {
	s := formedScribe(t)
	start := func(boot, own uint64, before ...uint64) error {
		c := registerCommand("k", newNode(1).member)
		r := c.GetRegister()
		r.Member.BootCount, r.Member.StartId, r.StartsBefore = boot, own, before
		return s.apply(c)
	}
	require.NoError(t, start(2, 20, 10), "the first start told no number")
	require.NoError(t, start(2, 20, 10), "the answer was lost")
	require.NoError(t, start(3, 30, 20))
	require.NoError(t, start(6, 60, 30, 40, 50), "some starts were not heard of")

	// A copy from the second start.
	for boot := uint64(3); boot < 12; boot++ {
		err := start(boot, 1000+boot, 20)
		code(t, kverr.WrongStore, err)
		require.NotContains(t, err.Error(), "%!")
	}
	code(t, kverr.WrongStore, start(6, 61, 50), "as often started as the original")
	code(t, kverr.WrongStore, start(7, 70), "nothing told")

	again, err := decodeState(s.encoded())
	require.NoError(t, err)
	s.state = again
	code(t, kverr.WrongStore, start(7, 1007, 20), "nor after a snapshot")
	require.NoError(t, start(7, 70, 60))

	// A lost disk: its successor's starts count from then on.
	wiped := func(boot, own uint64, before ...uint64) *kringv1.CoordinatorCommand {
		c := registerCommand("", newNode(1).member)
		r := c.GetRegister()
		r.Member.StoreId, r.Member.BootCount, r.Member.StartId, r.StartsBefore = 77, boot, own, before
		return c
	}
	require.NoError(t, s.apply(wiped(1, 500)))
	code(t, kverr.WrongStore, s.apply(wiped(2, 501, 60)))
	require.NoError(t, s.apply(wiped(2, 501, 500)))
}
