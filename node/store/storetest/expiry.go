package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

func expiring(seq uint64, key string, millis uint64) *entry.Entry {
	e := Put(seq, 1, key, "value")
	e.Attributes.ExpiresMillis = millis
	return e
}

func expire(seq uint64, key string, millis uint64) *entry.Entry {
	return &entry.Entry{
		Seq: seq, Epoch: 1, HybridTime: seq << 16, Op: entry.OpExpire, Key: []byte(key), Attributes: entry.Attributes{ExpiresMillis: millis},
	}
}

func requireExpired(t *testing.T, s store.Store, p ring.PartitionID, before uint64, limit int, wantNext uint64, want ...store.Expiry) {
	t.Helper()
	due, next, err := s.Expired(p, before, limit)
	require.NoError(t, err)
	require.Equal(t, want, due)
	require.Equal(t, wantNext, next)
}

func testExpired(t *testing.T, f Factory) {
	s := open(t, f, Small())
	requireExpired(t, s, 5, 1000, 10, 0)
	s.Write(5,
		expiring(1, "c", 300), expiring(2, "a", 100), expiring(3, "b", 200), Put(4, 1, "d", "for ever"), expiring(5, "zero\x00", 200),
	)
	s.Write(6, expiring(1, "other", 50))
	x := func(key string, millis uint64) store.Expiry { return store.Expiry{Key: []byte(key), Millis: millis} }
	requireExpired(t, s, 5, 99, 10, 100)
	requireExpired(t, s, 5, 100, 10, 200, x("a", 100))
	requireExpired(t, s, 5, 200, 10, 300, x("a", 100), x("b", 200), x("zero\x00", 200))
	requireExpired(t, s, 5, 1000, 10, 0, x("a", 100), x("b", 200), x("zero\x00", 200), x("c", 300))
	requireExpired(t, s, 5, 1000, 2, 200, x("a", 100), x("b", 200))

	// The entry takes the key away; a key that was written anew, or deleted, no longer expires at its old time.
	s.Write(5, expire(6, "a", 100), expiring(7, "b", 400), Put(8, 1, "zero\x00", "for ever"), &entry.Entry{
		Seq: 9, Epoch: 1, Op: entry.OpDelete, Key: []byte("c"),
	})
	requireAbsent(t, s, 5, "a")
	for range 2 {
		requireExpired(t, s, 5, 1000, 10, 0, x("b", 400))
	}
	requireExpired(t, s, 5, 300, 10, 400)
	s.Write(5, expiring(10, "c", 300)) // back at a time that led nowhere
	requireExpired(t, s, 5, 300, 10, 400, x("c", 300))
	require.NoError(t, s.Flush())
	requireExpired(t, s, 5, 300, 10, 400, x("c", 300))

	// Many that lead nowhere do not hide what comes after them for ever.
	for seq := uint64(11); seq < 211; seq++ {
		s.Write(5, expiring(seq, "often", seq))
	}
	for range 200 {
		due, next, err := s.Expired(5, 299, 2)
		require.NoError(t, err)
		if len(due) > 0 {
			require.Equal(t, []store.Expiry{x("often", 210)}, due)
			require.EqualValues(t, 300, next)
			return
		}
		require.LessOrEqual(t, next, uint64(210))
	}
	t.Fatal("what is due is never found")
}

func idempotent(seq, millis uint64, key string) *entry.Entry {
	e := Put(seq, 1, "key-"+key, "value")
	e.HybridTime = millis << 16
	e.Idempotency = &entry.Idempotency{Key: []byte(key), Hash: []byte("hash of " + key)}
	return e
}

func requireAnswer(t *testing.T, s store.Store, p ring.PartitionID, e *entry.Entry) {
	t.Helper()
	a, ok, err := s.Answer(p, e.Idempotency.Key)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, store.Answer{
		Version: e.Seq, Millis: e.Millis(), Existed: e.Existed, IsNumber: e.IsNumber, Number: e.Number(), Hash: e.Idempotency.Hash,
	}, a)
}

func requireNoAnswer(t *testing.T, s store.Store, p ring.PartitionID, key string) {
	t.Helper()
	_, ok, err := s.Answer(p, []byte(key))
	require.NoError(t, err)
	require.False(t, ok)
}

func testAnswers(t *testing.T, f Factory) {
	const kept = uint64(entry.AnswersKeptMillis)
	s := open(t, f, Small())
	requireNoAnswer(t, s, 5, "a")
	a, b := idempotent(1, 1000, "a"), idempotent(2, 1500, "b")
	b.Existed, b.IsNumber, b.Value = true, true, []byte("-7")
	c := &entry.Entry{Seq: 3, Epoch: 1, HybridTime: 1600 << 16, Op: entry.OpDelete, Key: []byte("key-a"), Existed: true}
	c.Idempotency = &entry.Idempotency{Key: []byte("c"), Hash: []byte("12345678")}
	s.Write(5, a, b, c)
	for _, e := range []*entry.Entry{a, b, c} {
		requireAnswer(t, s, 5, e)
	}
	requireNoAnswer(t, s, 6, "a")
	requireAbsent(t, s, 5, "key-a")

	// They are in snapshots.
	from := snapshot(t, s, 5)
	s.Append([]entry.Record{Flip(6, Copy(t, s, 6, from), from)})

	for p := ring.PartitionID(5); p <= 6; p++ {
		s.Write(p, idempotent(4, 1000+kept, "d"))
		requireAnswer(t, s, p, a)
		e := idempotent(5, 1500+kept, "b") // takes the place of one that is about to go
		s.Write(p, e, idempotent(6, 1600+kept+1, "f"))
		requireNoAnswer(t, s, p, "a")
		s.Write(p, idempotent(7, 1600+kept+2, "g"))
		requireNoAnswer(t, s, p, "c")
		requireAnswer(t, s, p, e)
	}
	count, err := s.Count(5)
	require.NoError(t, err)
	require.EqualValues(t, 4, count.Keys)

	for i := range uint64(40) {
		s.Write(5, idempotent(8+i, 5*kept+i, fmt.Sprint("more-", i)))
	}
	for _, key := range []string{"b", "d", "f", "g"} {
		requireNoAnswer(t, s, 5, key)
	}
}

func testReopenAnswers(t *testing.T, f Factory) {
	if !f.Durable {
		t.Skip("not durable")
	}
	first := NewHandle(t, f.Open(t, "store", Small()))
	a := idempotent(1, 1000, "a")
	first.Write(5, a, expiring(2, "k", 100))
	require.NoError(t, first.Close())
	s := open(t, f, Small())
	requireAnswer(t, s, 5, a)
	requireExpired(t, s, 5, 1000, 10, 0, store.Expiry{Key: []byte("k"), Millis: 100})
}
