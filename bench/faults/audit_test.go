package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// TestRegistersAudited: what is there, or is not, after healing is judged by when deletes and writes were carried out.
func TestRegistersAudited(t *testing.T) {
	failed := at(2, 3, registerOp{kind: registerDelete, outcome: Failed})
	for _, test := range []struct {
		name    string
		history []registerOp
		there   registerOp // value and version; version 0: nothing
		wrong   bool
	}{
		{"there", []registerOp{at(0, 1, put(1, 5))}, put(1, 5), false},
		{"lost", []registerOp{at(0, 1, put(1, 5))}, registerOp{}, true},
		{"set back", []registerOp{at(0, 1, put(1, 5)), at(2, 3, put(2, 6))}, put(1, 5), true},
		{"deleted", []registerOp{at(0, 1, put(1, 5)), at(2, 3, deleted)}, registerOp{}, false},
		{"perhaps deleted, and not there", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(deleted))}, registerOp{}, false},
		{"perhaps deleted, and there", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(deleted))}, put(1, 5), false},
		{"deleted before, and lost", []registerOp{at(0, 1, put(1, 5)), at(2, 3, deleted), at(4, 5, put(2, 7))}, registerOp{}, true},
		{"deleted while it was written", []registerOp{at(0, 1, put(1, 5)), at(2, 5, deleted), at(4, 6, put(2, 7))}, registerOp{}, false},
		{"perhaps deleted before, and not there", []registerOp{at(2, 3, unknown(deleted)), at(4, 5, put(2, 7))}, registerOp{}, false},
		{"the delete was refused, and it is lost", []registerOp{at(0, 1, put(1, 5)), failed}, registerOp{}, true},
		{"deleted, and back", []registerOp{at(0, 1, put(1, 5)), at(2, 3, deleted)}, put(1, 5), true},
		{"deleted, and written by who did not learn of it", []registerOp{
			at(0, 1, put(1, 5)), at(2, 3, deleted), at(2, 4, unknown(put(2, 0))),
		}, put(2, 8), false},
		{"a value that nobody wrote last", []registerOp{at(0, 1, put(1, 5))}, put(3, 9), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore(flaw{})
				if test.there.version != 0 {
					value := bench.AppendValue(nil, []byte("r"), test.there.value, registerValueBytes)
					store.entries["r"] = fakeEntry{value: value, version: test.there.version}
				}
				r := newRegisters(&shared{store: store, config: LoadConfig{}.withDefaults()}, rand.New(rand.NewPCG(1, 1)))
				r.auditOne(t.Context(), endOf(&registerKey{name: "r", history: test.history}))
				require.Equal(t, test.wrong, r.final.result().Violations > 0, "%v", r.final.result().Findings)
			})
		})
	}
}

// leaderless has nobody who leads anything.
type leaderless struct{ *fakeCluster }

func (leaderless) Primary(context.Context, string) (string, error) {
	return "", errors.New("nobody leads")
}

// TestWhatWasNotBegunHasNoEffect: a fault that could not be done to anybody proves nothing, and that is an error.
func TestWhatWasNotBegunHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeConfig(newFakeCluster(), newFakeStore(flaw{}))
		c.Cluster = leaderless{c.Cluster.(*fakeCluster)}
		c.Plan.Kinds, c.Faults = []Kind{KillPrimary, PauseShort}, 4
		report, err := Run(t.Context(), c)
		require.NoError(t, err)
		require.Len(t, report.Faults, 4)
		for _, f := range report.Faults {
			require.False(t, f.Effective, "%s: %v", f.Kind, f.Evidence)
		}
		require.Zero(t, report.Effective)
		require.ErrorContains(t, report.Err(), "nobody leads")
	})
}

// unreadable answers nothing.
type unreadable struct{ *fakeStore }

func (unreadable) Get(context.Context, string) (Answer, error) {
	return Answer{}, kverr.New(kverr.Unavailable, "nobody leads")
}

// TestExpiredKeysAudited: that a key is still gone must be seen; not to get an answer shows nothing.
func TestExpiredKeysAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(flaw{})
		audit := func(s Store, c *expiringClient) Verdict {
			w := newExpiring(&shared{store: s, clock: NewClock(), tally: newTally(), config: LoadConfig{}.withDefaults()}, rand.New(rand.NewPCG(1, 1)))
			c.w, w.all = w, []*expiringClient{c}
			w.audit(t.Context())
			return w.gone.result()
		}
		seenGone := func() *expiringClient { return &expiringClient{past: []string{"gone"}} }
		require.Zero(t, audit(store, seenGone()).Violations)
		require.NotZero(t, audit(unreadable{store}, seenGone()).Violations, "unreadable")

		// A key that was seen gone a moment before the load ended counts too.
		store.entries["back"] = fakeEntry{value: []byte("v"), version: 3}
		live := &expiringClient{live: []*expiringKey{{name: "back", ttl: time.Second, looks: 1}, {name: "unseen"}}}
		require.EqualValues(t, 1, audit(store, live).Violations)
	})
}
