package bench_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

var auditSettings = bench.AuditSettings{Prefix: "audit", Count: 1000, ValueSize: 100, Seed: 3}

func auditKey(i uint64) []byte { return bench.Keys{Prefix: "audit"}.Append(nil, i) }

func TestAuditThroughOneAndTheOther(t *testing.T) {
	gateway := fakeGateway(t)
	file := filepath.Join(t.TempDir(), "acks")
	acks, err := bench.CreateAcks(file, auditSettings)
	require.NoError(t, err)
	write := bench.Audit{Target: openREST(t, bench.RESTConfig{}, gateway.URL), Acks: acks}
	report, err := write.Write(t.Context())
	require.NoError(t, err)
	assert.Equal(t, uint64(1000), report.Acknowledged)
	require.NoError(t, acks.Close())

	read, err := bench.ReadAcks(file)
	require.NoError(t, err)
	verify := bench.Audit{Target: openREST(t, bench.RESTConfig{}, gateway.URL), Acks: read}
	report, err = verify.Verify(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.Err())
	assert.Equal(t, uint64(1000), report.Verified)
	assert.Zero(t, report.Appeared)

	_, err = bench.CreateAcks(file, auditSettings)
	assert.ErrorIs(t, err, os.ErrExist, "an audit's memory is not overwritten")
}

func TestAuditFindsWhatIsWrong(t *testing.T) {
	memory := bench.NewMemory()
	acks := bench.NewAcks(auditSettings)
	audit := bench.Audit{Target: memory, Acks: acks}
	_, err := audit.Write(t.Context())
	require.NoError(t, err)
	ctx := t.Context()
	_, err = memory.Delete(ctx, auditKey(1))
	require.NoError(t, err)
	for i, value := range map[uint64][]byte{
		2: []byte("rotten"),
		3: bench.AppendValue(nil, auditKey(3), 99, 100),
		4: bench.AppendValue(nil, auditKey(5), 3+5, 100),
	} {
		_, err = memory.Put(ctx, auditKey(i), value)
		require.NoError(t, err)
	}
	require.NoError(t, acks.Acknowledge(6, 1<<40)) // a version that the target has lost
	report, err := audit.Verify(ctx)
	require.NoError(t, err)
	require.ErrorContains(t, report.Err(), "1 missing, 3 corrupt, 1 at an older version, 0 unreadable")
	assert.Equal(t, uint64(995), report.Verified)
	assert.Len(t, report.Findings, 5)
}

func TestAuditTellsRefusedFromUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(0))
		var n atomic.Int64
		target.fail = func() error {
			switch n.Add(1) % 4 {
			case 0:
				return kverr.New(kverr.OutcomeUnknown, "")
			case 1:
				return kverr.New(kverr.Unavailable, "")
			}
			return nil
		}
		acks := bench.NewAcks(auditSettings)
		audit := bench.Audit{Target: target, Acks: acks}
		report, err := audit.Write(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []uint64{500, 250, 250}, []uint64{report.Acknowledged, report.Suspected, report.Refused})
		assert.Equal(t, bench.ErrorCounts{"outcome_unknown": 250, "unavailable": 250}, report.Errors)

		// One of unknown outcome has happened after all, which is allowed; reading is tried again.
		for i := range auditSettings.Count {
			if _, ok := acks.Acknowledged(i); !ok {
				_, err := target.Memory.Put(t.Context(), auditKey(i), bench.AppendValue(nil, auditKey(i), 3+i, 100))
				require.NoError(t, err)
				break
			}
		}
		audit.Attempts = 100
		report, err = audit.Verify(t.Context())
		require.NoError(t, err)
		require.NoError(t, report.Err())
		assert.Equal(t, []uint64{500, 1}, []uint64{report.Verified, report.Appeared})

		audit.Attempts = 2
		target.fail = func() error { return kverr.New(kverr.Unavailable, "") }
		report, err = audit.Verify(t.Context())
		require.NoError(t, err)
		assert.ErrorContains(t, report.Err(), "500 unreadable")
		assert.Len(t, report.Findings, 100, "bounded")
	})
}

// TestAuditRetryDoesNotForgetAnUnknownOutcome: unknown, then refused, is still unknown.
func TestAuditRetryDoesNotForgetAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(0))
		var n atomic.Int64
		target.fail = func() error {
			if n.Add(1) == 1 {
				return kverr.New(kverr.OutcomeUnknown, "")
			}
			return kverr.New(kverr.Unavailable, "")
		}
		audit := bench.Audit{
			Target: target, Acks: bench.NewAcks(bench.AuditSettings{Count: 1, ValueSize: 16}), Attempts: 5, Workers: 1,
		}
		report, err := audit.Write(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []uint64{0, 1, 0}, []uint64{report.Acknowledged, report.Suspected, report.Refused})
		assert.EqualValues(t, 5, n.Load())
	})
}

func TestAuditEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		audit := bench.Audit{Target: newSlow(always(100 * time.Millisecond)), Acks: bench.NewAcks(auditSettings), Workers: 10}
		report, err := audit.Write(ctx)
		require.Error(t, err)
		assert.Equal(t, uint64(1000), report.Keys)
		assert.InDelta(t, 95, float64(report.Acknowledged), 6)
		_, err = audit.Verify(ctx)
		require.Error(t, err)
	})
}

func TestAcksSurviveACutLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acks")
	head := `{"format":1,"prefix":"audit","count":10,"value_size_bytes":100,"seed":3}` + "\n"
	for name, test := range map[string]struct {
		text         string
		acked, maybe int
		bad          string
	}{
		"whole":         {head + "a 1 5\nu 2\n", 1, 1, ""},
		"cut":           {head + "a 1 5\na 2 1", 1, 0, ""},
		"later certain": {head + "u 1\na 1 5\n", 1, 1, ""},
		"empty":         {"", 0, 0, "no settings"},
		"other format":  {`{"format":9}` + "\n", 0, 0, "format 9"},
		"no such key":   {head + "a 10 5\n", 0, 0, "line 2"},
		"nonsense":      {head + "a 1 5\nhello\n", 0, 0, "line 3"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
			acks, err := bench.ReadAcks(file)
			if test.bad != "" {
				require.ErrorContains(t, err, test.bad)
				return
			}
			require.NoError(t, err)
			acked, maybe := acks.Len()
			assert.Equal(t, []int{test.acked, test.maybe}, []int{acked, maybe})
		})
	}
}

func TestAuditRefusesNonsense(t *testing.T) {
	for _, audit := range []bench.Audit{
		{},
		{Target: bench.NewMemory(), Acks: bench.NewAcks(bench.AuditSettings{ValueSize: 100})},
		{Target: bench.NewMemory(), Acks: bench.NewAcks(bench.AuditSettings{ValueSize: 15, Count: 1})},
	} {
		_, err := audit.Write(t.Context())
		assert.Error(t, err)
	}
}

func TestLoadWritesEveryKeyDespiteRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(time.Millisecond))
		var n atomic.Int64
		target.fail = func() error {
			if n.Add(1)%3 == 0 {
				return kverr.New(kverr.Busy, "")
			}
			return nil
		}
		keys := bench.Keys{Prefix: "user", Count: 500}
		loaded, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: keys, Sizes: bench.FixedSize(100)})
		require.NoError(t, err)
		assert.Equal(t, uint64(500), loaded.Keys)
		for i := range keys.Count {
			key := keys.Append(nil, i)
			read, err := target.Memory.Get(t.Context(), key, nil)
			require.NoError(t, err)
			_, err = bench.CheckValue(key, read.Value)
			require.NoError(t, err)
		}
		target.fail = func() error { return kverr.New(kverr.DiskFull, "no room") }
		_, err = bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: keys, Sizes: bench.FixedSize(100)})
		assert.ErrorContains(t, err, "disk_full")
	})
}

func TestRatioAlternates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds []bench.Round
		r, err := bench.Ratio(t.Context(), bench.RatioConfig{
			A: newSlow(always(4 * time.Millisecond)), B: newSlow(always(2 * time.Millisecond)), Workload: newMix(t, "put"),
			Workers: 8, Duration: time.Second, Rounds: 4, OnRound: func(r bench.Round) { rounds = append(rounds, r) },
		})
		require.NoError(t, err)
		assert.InDelta(t, 0.5, r.Median, 0.01)
		assert.Equal(t, rounds, r.Rounds)
		require.Len(t, rounds, 4)
		assert.InDelta(t, 2000, rounds[0].A, 20)

		failing := newSlow(always(time.Millisecond))
		failing.fail = func() error { return kverr.New(kverr.NotFound, "") }
		_, err = bench.Ratio(t.Context(), bench.RatioConfig{
			A: newSlow(always(time.Millisecond)), B: failing, Workload: newMix(t, "put"), Duration: 100 * time.Millisecond,
		})
		assert.ErrorContains(t, err, "not_found")
	})
}

func TestLoadWritesTheKeysAskedForAtTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes, err := bench.ParseSizes("uniform:16-4096")
		require.NoError(t, err)
		load := func(seed uint64) (*bench.Memory, time.Duration) {
			target := bench.NewMemory()
			loaded, err := bench.Load(t.Context(), bench.LoadConfig{
				Target: target, Keys: bench.Keys{Prefix: "user", Count: 100}, First: 900, Sizes: sizes, Seed: seed, Rate: 10,
			})
			require.NoError(t, err)
			return target, loaded.Elapsed
		}
		lengths := func(m *bench.Memory) (all []int) {
			keys := bench.Keys{Prefix: "user"}
			for i := range uint64(2000) {
				read, err := m.Get(t.Context(), keys.Append(nil, i), nil)
				require.Equal(t, i >= 900 && i < 1000, err == nil, "key %d", i)
				if err == nil {
					all = append(all, len(read.Value))
				}
			}
			return all
		}
		first, elapsed := load(1)
		assert.InDelta(t, 10, elapsed.Seconds(), 0.2)
		again, _ := load(1)
		other, _ := load(2)
		assert.Equal(t, lengths(first), lengths(again), "the same seed gives the same sizes, whichever worker writes a key")
		assert.NotEqual(t, lengths(first), lengths(other))
	})
}
