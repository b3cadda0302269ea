package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// once proposes a write under an idempotency key, with a hash for what is asked.
func (r *rig) once(i int, token, key, hash string, epoch ring.Epoch) {
	r.nodes[i].core.Step(r.now, &Propose{
		Token: token, Epoch: epoch, Deadline: r.now.add(5 * time.Second),
		Entry: &entry.Entry{
			Op: entry.OpPut, Key: []byte("k"), Value: []byte(token), Idempotency: &entry.Idempotency{Key: []byte(key), Hash: []byte(hash)},
		},
	})
}

// TestIdempotencyKeyInFlight: while the first request is neither done nor given up, the same again is refused at once and nothing of
// it is logged; one that asks for something else is told so once that is sure, since the first may yet be taken back.
func TestIdempotencyKeyInFlight(t *testing.T) {
	r := opened(t)
	r.nodes[2].unsynced = true
	r.once(0, "first", "a", "hash one", 1)
	r.settle()
	r.once(0, "again", "a", "hash one", 1)
	r.once(0, "other", "a", "hash two", 1)
	r.once(0, "elsewhere", "b", "hash one", 1)
	r.settle()
	require.Equal(t, "again: conflict", r.told(0), "the others wait")
	require.Equal(t, "1@1 2@1 3@1", r.log(0), "first and elsewhere")
	r.nodes[2].unsynced = false
	r.settle()
	require.Equal(t, "first: ok version 2; elsewhere: ok version 3; other: mismatch", r.told(0))
}

// TestIdempotencyKeyTakenBack: a request that was logged by a primary which nobody followed has not happened, and nobody waits for it.
func TestIdempotencyKeyTakenBack(t *testing.T) {
	r := opened(t)
	r.cut["n1→n2"], r.cut["n1→n3"] = true, true
	for i := range 3 {
		r.put(0, fmt.Sprintf("before %d", i), "a", 1, nil)
	}
	r.once(0, "lost", "a", "hash one", 1)
	r.settle()
	require.Equal(t, "1@1 2@1 3@1 4@1 5@1", r.log(0))
	clear(r.cut)
	r.configure(r.partition(2, 1))
	r.pass(2 * time.Second)
	r.configure(r.partition(3, 0))
	r.pass(2 * time.Second)
	r.roles("primary backup backup")
	r.told(0)
	r.once(0, "anew", "a", "hash one", 3)
	r.settle()
	require.Equal(t, "anew: ok version 4", r.told(0))
}
