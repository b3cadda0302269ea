package client

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/proto/kverr"
)

func failed(code kverr.Code) outcome { return outcome{err: kverr.New(code, "")} }

func lost(code kverr.Code) outcome { return outcome{err: kverr.New(code, ""), sent: true} }

var (
	forgottenOutcome = outcome{err: kverr.New(kverr.OutcomeUnknown, ""), forgotten: true}
	fullOutcome      = outcome{err: kverr.New(kverr.Busy, ""), full: true}
)

// TestVerdicts is judgeRetry's table: what a read, a mutation, and a mutation in doubt do about each way to fail.
func TestVerdicts(t *testing.T) {
	for _, row := range []struct {
		o                       outcome
		read, mutation, inDoubt verdict
		doubt                   bool // the mutation is in doubt from then on
	}{
		{failed(kverr.NotPrimary), reroute, reroute, reroute, false},
		{failed(kverr.StaleEpoch), reroute, reroute, reroute, false},
		{failed(kverr.Busy), again, again, again, false},
		{failed(kverr.Unavailable), again, again, again, false},
		{failed(kverr.NotLeader), again, again, again, false},
		{failed(kverr.OutcomeUnknown), again, again, again, true},
		{forgottenOutcome, giveUp, renew, unknown, false},
		{lost(kverr.Unavailable), again, again, again, true},
		{failed(kverr.Internal), giveUp, again, again, true},
		{failed(kverr.Corrupt), giveUp, again, again, true},
		{failed(kverr.RequestTooOld), giveUp, renew, unknown, false},
		{failed(kverr.PreconditionFailed), giveUp, giveUp, giveUp, false},
		{failed(kverr.NotANumber), giveUp, giveUp, giveUp, false},
		{failed(kverr.NotFound), giveUp, giveUp, giveUp, false},
		{failed(kverr.IdempotencyMismatch), giveUp, giveUp, giveUp, false},
		{failed(kverr.BadRequest), giveUp, giveUp, again, false},
		{failed(kverr.KeyTooLong), giveUp, giveUp, again, false},
		{failed(kverr.ValueTooLarge), giveUp, giveUp, again, false},
		{failed(kverr.DiskFull), giveUp, giveUp, again, false},
		{failed(kverr.Conflict), giveUp, giveUp, again, false},
		{failed(kverr.WrongCluster), giveUp, giveUp, again, false},
		{failed(kverr.WrongStore), giveUp, giveUp, again, false},
		{fullOutcome, giveUp, giveUp, again, false},
		{failed(kverr.Deadline), giveUp, giveUp, unknown, false},
		{failed(kverr.Canceled), giveUp, giveUp, unknown, false},
		{lost(kverr.Deadline), giveUp, unknown, unknown, true},
		{lost(kverr.Canceled), giveUp, unknown, unknown, true},
	} {
		name := row.o.err.Error()
		read, mutation, inDoubt := call{}, call{mutation: true}, call{mutation: true, doubt: true}
		require.Equal(t, row.read, read.judgeRetry(&row.o), "%s: a read", name)
		require.Equal(t, row.mutation, mutation.judgeRetry(&row.o), "%s: a mutation", name)
		require.Equal(t, row.inDoubt, inDoubt.judgeRetry(&row.o), "%s: in doubt", name)
		require.False(t, read.doubt, name)
		require.Equal(t, row.doubt, mutation.doubt, name)
		require.True(t, inDoubt.doubt, name)
	}
	worn := call{mutation: true, renewed: maxRenewals}
	o := failed(kverr.RequestTooOld)
	require.Equal(t, giveUp, worn.judgeRetry(&o))
}

// TestNoErrorSaysNothingHappenedWhenItMay plays random attempts against a log that may have taken each: however they end, an error
// whose outcome is none means that nothing was logged, and unknown that something may have been.
func TestNoErrorSaysNothingHappenedWhenItMay(t *testing.T) {
	const seed = 42
	random := rand.New(rand.NewPCG(seed, seed))
	ends := map[verdict]int{}
	for range 100_000 {
		q := call{mutation: true}
		logged, lately := false, false // under any id; something may have been logged
		for range 1 + random.IntN(8) {
			var o outcome
			switch random.IntN(7) {
			case 0:
				o, logged, lately = lost(kverr.Unavailable), logged || random.IntN(2) == 0, true
			case 1:
				o, logged, lately = failed(kverr.OutcomeUnknown), logged || random.IntN(2) == 0, true
			case 2:
				o, logged, lately = failed(kverr.Corrupt), logged || random.IntN(2) == 0, true
			case 3:
				o = failed(anyOf(random, kverr.NotPrimary, kverr.Busy, kverr.Unavailable, kverr.DiskFull, kverr.Deadline, kverr.BadRequest))
			case 4:
				if logged {
					continue // a node that knows its log answers as the first time: success
				}
				o = failed(anyOf(random, kverr.PreconditionFailed, kverr.NotANumber))
			case 5:
				o = failed(kverr.RequestTooOld)
			case 6:
				o = forgottenOutcome
			}
			v := q.judgeRetry(&o)
			err := o.err
			switch v {
			case again, reroute:
				continue
			case renew:
				require.False(t, lately, "a new request id while the old one may be in a log")
				q.renewed++
				continue
			case unknown:
				require.True(t, lately, "unknown without a reason")
				err = q.unknownError(o.err)
			}
			ends[v]++
			if kverr.OutcomeOf(err.Code) == kverr.OutcomeNone {
				require.False(t, logged, "%v", err)
			}
			break
		}
		// Out of time between two attempts.
		busy := kverr.New(kverr.Busy, "")
		if kverr.OutcomeOf(q.giveUpError(busy, 0).Code) == kverr.OutcomeNone {
			require.False(t, lately)
		}
	}
	require.Positive(t, ends[giveUp])
	require.Positive(t, ends[unknown])
}

func anyOf(random *rand.Rand, codes ...kverr.Code) kverr.Code { return codes[random.IntN(len(codes))] }
