package faults

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at makes an operation that begins and ends so many milliseconds after the start.
func at(call, ret int, o registerOp) registerOp {
	o.call, o.ret = time.Duration(call)*time.Millisecond, time.Duration(ret)*time.Millisecond
	if o.outcome == "" {
		o.outcome = OK
	}
	return o
}

func put(value, version uint64) registerOp {
	return registerOp{kind: registerPut, value: value, version: version}
}

func get(value, version uint64) registerOp {
	return registerOp{kind: registerGet, value: value, version: version}
}

func cas(expect, value, version uint64) registerOp {
	return registerOp{kind: registerCAS, expect: expect, value: value, version: version}
}

func refusedAt(expect, value, current uint64) registerOp {
	return registerOp{kind: registerCAS, expect: expect, value: value, version: current, refused: true}
}

func unknown(o registerOp) registerOp {
	o.outcome, o.version = Unknown, 0
	return o
}

var (
	gone    = registerOp{kind: registerGet, absent: true}
	deleted = registerOp{kind: registerDelete}
)

func TestJudgeRegister(t *testing.T) {
	for _, test := range []struct {
		name    string
		history []registerOp
		want    judgement
	}{
		{"nothing", nil, linearizable},
		{"written and read", []registerOp{at(0, 1, put(1, 5)), at(2, 3, get(1, 5))}, linearizable},
		{"a read of an older value", []registerOp{at(0, 1, put(1, 5)), at(2, 3, put(2, 6)), at(4, 5, get(1, 5))}, notLinearizable},
		{"a read of either, while it is written", []registerOp{at(0, 1, put(1, 5)), at(2, 9, put(2, 6)), at(3, 4, get(1, 5)), at(5, 6, get(2, 6))}, linearizable},
		{"back to the older one", []registerOp{at(0, 1, put(1, 5)), at(2, 9, put(2, 6)), at(3, 4, get(2, 6)), at(5, 6, get(1, 5))}, notLinearizable},
		{"an acknowledged write is lost", []registerOp{at(0, 1, put(1, 5)), at(2, 3, gone)}, notLinearizable},
		{"deleted", []registerOp{at(0, 1, put(1, 5)), at(2, 3, deleted), at(4, 5, gone)}, linearizable},
		{"a deleted one is back", []registerOp{at(0, 1, put(1, 5)), at(2, 3, deleted), at(4, 5, get(1, 5))}, notLinearizable},
		{"a value that nobody wrote", []registerOp{at(0, 1, put(1, 5)), at(2, 3, get(7, 6))}, notLinearizable},
		{"a refused write is read", []registerOp{at(0, 1, registerOp{kind: registerPut, value: 1, outcome: Failed}), at(2, 3, get(1, 5))}, notLinearizable},
		{"the right value at another version", []registerOp{at(0, 1, put(1, 5)), at(2, 3, get(1, 6))}, notLinearizable},
		{"versions go back", []registerOp{at(0, 1, put(1, 6)), at(2, 3, put(2, 5))}, notLinearizable},
		{"versions go back behind a delete", []registerOp{at(0, 1, put(1, 6)), at(2, 3, deleted), at(4, 5, put(2, 5))}, notLinearizable},
		{"swapped", []registerOp{at(0, 1, put(1, 5)), at(2, 3, cas(5, 2, 6)), at(4, 5, get(2, 6))}, linearizable},
		{"created", []registerOp{at(0, 1, cas(0, 1, 5)), at(2, 3, refusedAt(0, 2, 5))}, linearizable},
		{"created twice", []registerOp{at(0, 1, cas(0, 1, 5)), at(2, 3, cas(0, 2, 6))}, notLinearizable},
		{"both of two swaps over one version", []registerOp{at(0, 1, put(1, 5)), at(2, 9, cas(5, 2, 6)), at(2, 9, cas(5, 3, 7))}, notLinearizable},
		{"refused over the very version", []registerOp{at(0, 1, put(1, 5)), at(2, 3, refusedAt(5, 2, 5))}, notLinearizable},
		{"refused with a version that has passed", []registerOp{at(0, 1, put(1, 5)), at(2, 3, put(2, 6)), at(4, 5, refusedAt(4, 3, 5))}, notLinearizable},
		{"refused because it is absent", []registerOp{at(0, 1, refusedAt(4, 3, 0)), at(2, 3, put(1, 5))}, linearizable},
		{"of unknown outcome, and not seen", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(put(2, 0))), at(4, 5, get(1, 5))}, linearizable},
		{"of unknown outcome, and seen late", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(put(2, 0))), at(4, 5, get(1, 5)), at(6, 7, get(2, 6))}, linearizable},
		{"of unknown outcome, seen and lost", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(put(2, 0))), at(4, 5, get(2, 6)), at(6, 7, get(1, 5))}, notLinearizable},
		{"of unknown outcome, and told of by a refusal", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(put(2, 0))), at(4, 5, refusedAt(5, 3, 6))}, linearizable},
		{"a refusal tells of a version that nobody can have written", []registerOp{at(0, 1, put(1, 5)), at(4, 5, refusedAt(5, 3, 6))}, notLinearizable},
		{"a swap of unknown outcome that cannot have happened", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(cas(4, 2, 0))), at(4, 5, get(2, 6))}, notLinearizable},
		{"a delete of unknown outcome", []registerOp{at(0, 1, put(1, 5)), at(2, 3, unknown(deleted)), at(4, 5, get(1, 5)), at(6, 7, gone)}, linearizable},
		{"a delete of unknown outcome cannot happen twice", []registerOp{
			at(0, 1, put(1, 5)), at(2, 3, unknown(deleted)), at(4, 5, gone), at(6, 7, put(2, 8)), at(8, 9, gone),
		}, notLinearizable},
		{"a read that failed says nothing", []registerOp{at(0, 1, put(1, 5)), at(2, 3, registerOp{kind: registerGet, value: 9, outcome: Failed})}, linearizable},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, judgeRegister(test.history, time.Minute), "%s", transcript(test.history))
		})
	}
}

func TestVersionsRise(t *testing.T) {
	_, _, ok := versionsRise([]registerOp{at(0, 1, put(1, 5)), at(2, 9, put(2, 7)), at(3, 4, put(3, 6)), at(10, 11, get(2, 7)), at(10, 12, get(2, 7))})
	require.True(t, ok)
	earlier, later, ok := versionsRise([]registerOp{at(0, 1, put(1, 5)), at(2, 3, put(2, 7)), at(4, 5, get(1, 5))})
	require.False(t, ok)
	require.Equal(t, uint64(7), earlier.version)
	require.Equal(t, uint64(5), later.version)
	_, _, ok = versionsRise([]registerOp{at(0, 1, put(1, 5)), at(2, 3, put(2, 5))})
	require.False(t, ok, "two writes cannot have one version")
	_, _, ok = versionsRise([]registerOp{at(0, 3, put(1, 7)), at(2, 5, get(2, 6))})
	require.True(t, ok, "they were under way at the same time")
}

// A long history of a real register, with many writes of unknown outcome, is judged at once; with one read of it doctored, it
// is found out.
func TestJudgeLongHistories(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for round := range 8 {
		history := simulate(random, 400)
		require.Equal(t, linearizable, judgeRegister(history, time.Minute), "round %d", round)
		doctored := slices.Clone(history)
		for {
			i := random.IntN(len(doctored))
			if o := &doctored[i]; i > len(doctored)/2 && o.kind == registerGet && !o.absent {
				first := slices.IndexFunc(history, func(w registerOp) bool { return w.kind == registerGet && !w.absent && w.value != o.value })
				o.value, o.version = history[first].value, history[first].version
				break
			}
		}
		require.Equal(t, notLinearizable, judgeRegister(doctored, time.Minute), "round %d", round)
	}
}

// simulate is what 4 clients of one linearizable register see, of whose writes every 20th is not answered.
func simulate(random *rand.Rand, n int) []registerOp {
	var (
		history []registerOp
		state   register
		next    [4]int // when the client is free
		value   uint64
	)
	now := 0
	for range n {
		now += 2
		client := random.IntN(len(next))
		call := max(now-random.IntN(5), next[client])
		now = max(now, call)
		ret := now + 1 + random.IntN(5)
		next[client] = ret + 1
		value++
		o := registerOp{client: client, kind: registerKind(random.IntN(3))}
		switch {
		case o.kind == registerGet:
			o.value, o.version, o.absent = state.value, state.version, !state.exists
		case o.kind == registerCAS && random.IntN(2) == 0 && state.exists:
			o.expect, o.refused, o.version = state.version+1, true, state.version
		default:
			if o.kind == registerCAS && state.exists {
				o.expect = state.version
			}
			o.value, o.version = value, state.version+1+uint64(random.IntN(3))
			state = register{exists: true, value: o.value, version: o.version}
			if random.IntN(20) == 0 {
				o = unknown(o)
			}
		}
		history = append(history, at(call, ret, o))
	}
	return history
}
