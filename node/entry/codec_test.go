package entry_test

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

func drawEntry(t *rapid.T) entry.Entry {
	e := entry.Entry{
		Seq:         rapid.Uint64().Draw(t, "seq"),
		Epoch:       ring.Epoch(rapid.Uint64().Draw(t, "epoch")),
		HybridTime:  rapid.Uint64().Draw(t, "hybrid time"),
		Attempt:     rapid.Uint32().Draw(t, "attempt"),
		Op:          rapid.SampledFrom([]entry.Op{entry.OpNoop, entry.OpPut, entry.OpDelete, entry.OpExpire}).Draw(t, "op"),
		Existed:     rapid.Bool().Draw(t, "existed"),
		WantExisted: rapid.Bool().Draw(t, "want existed"),
	}
	copy(e.Request[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "request"))
	if e.Op != entry.OpNoop {
		e.Key = rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "key")
	}
	if e.Op == entry.OpExpire {
		e.Attributes.ExpiresMillis = rapid.Uint64Min(1).Draw(t, "expires")
	}
	if (e.Op == entry.OpPut || e.Op == entry.OpDelete) && rapid.Bool().Draw(t, "idempotent") {
		e.Idempotency = &entry.Idempotency{
			Key:  rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "idempotency key"),
			Hash: rapid.SliceOfN(rapid.Byte(), 8, 32).Draw(t, "hash"),
		}
	}
	if e.Op == entry.OpPut && rapid.IntRange(0, 4).Draw(t, "increment") == 0 {
		e.IsNumber, e.Value = true, strconv.AppendInt(nil, rapid.Int64().Draw(t, "number"), 10)
	} else if e.Op == entry.OpPut {
		if v := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"); len(v) > 0 {
			e.Value = v
		}
	}
	if e.Op == entry.OpPut {
		e.Attributes.ContentType = rapid.StringN(0, 20, 60).Draw(t, "content type")
		e.Attributes.ContentEncoding = rapid.StringN(0, 20, 60).Draw(t, "content encoding")
		e.Attributes.ExpiresMillis = rapid.Uint64().Draw(t, "expires")
		name := ""
		for range rapid.IntRange(0, 4).Draw(t, "metadata") {
			name += rapid.StringN(1, 5, 20).Draw(t, "name")
			value := rapid.StringN(0, 20, 60).Draw(t, "metadata value")
			e.Attributes.Metadata = append(e.Attributes.Metadata, entry.Pair{Name: name, Value: value})
		}
	}
	return e
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		b := entry.Encode([]byte("before"), &e)
		require.Equal(t, "before", string(b[:6]))
		b = b[6:]
		require.Len(t, b, e.EncodedBytes())
		var got entry.Entry
		require.NoError(t, entry.Decode(b, &got))
		require.Equal(t, e, got)
		seq, epoch, err := entry.DecodeHeader(b)
		require.NoError(t, err)
		require.Equal(t, e.Seq, seq)
		require.Equal(t, e.Epoch, epoch)

		// Cut short, made longer, or with any bit flipped, it is refused.
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		require.ErrorIs(t, entry.Decode(b[:cut], &got), entry.ErrMalformed)
		require.ErrorIs(t, entry.Decode(append(bytes.Clone(b), 0), &got), entry.ErrMalformed)
		flipped := bytes.Clone(b)
		flipped[cut] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		require.ErrorIs(t, entry.Decode(flipped, &got), entry.ErrMalformed)
	})
}

// TestLayout pins the bytes: they are on disks and between nodes of different versions.
func TestLayout(t *testing.T) {
	e := entry.Entry{
		Seq: 1, Epoch: ring.NewEpoch(2, 3), HybridTime: 4, Request: entry.RequestID{5, 15: 6}, Attempt: 7,
		Op: entry.OpPut, Existed: true, WantExisted: true, Key: []byte("key"), Value: []byte("value"),
		Attributes: entry.Attributes{
			ContentType: "t", ContentEncoding: "e", Metadata: []entry.Pair{{Name: "n", Value: "v"}}, ExpiresMillis: 8,
		},
	}
	require.Equal(t, ""+
		"01023f00"+"0100000000000000"+"0300000000000200"+"0400000000000000"+
		"05000000000000000000000000000006"+"07000000"+"03000000"+"05000000"+
		"6b6579"+"010074"+"010065"+"0100"+"01006e"+"010076"+"0800000000000000"+"76616c7565"+layoutChecksum,
		hex.EncodeToString(entry.Encode(nil, &e)))
}

const layoutChecksum = "ea713b8f"

func TestValidate(t *testing.T) {
	put := func(change func(*entry.Entry)) *entry.Entry {
		e := &entry.Entry{Op: entry.OpPut, Key: []byte("k")}
		change(e)
		return e
	}
	for name, e := range map[string]*entry.Entry{
		"no op":            {},
		"unknown op":       {Op: 9, Key: []byte("k")},
		"no key":           {Op: entry.OpPut},
		"no key to delete": {Op: entry.OpDelete},
		"long key":         {Op: entry.OpPut, Key: make([]byte, ring.MaxKeyBytes+1)},
		"long value":       {Op: entry.OpPut, Key: []byte("k"), Value: make([]byte, entry.MaxValueBytes+1)},
		"no-op with key":   {Op: entry.OpNoop, Key: []byte("k")},
		"delete a value":   {Op: entry.OpDelete, Key: []byte("k"), Value: []byte("v")},
		"long attributes": put(func(e *entry.Entry) {
			e.Attributes.ContentType = strings.Repeat("t", entry.MaxAttributeBytes)
		}),
		"no expiry": {Op: entry.OpExpire, Key: []byte("k")},
		"expiry of a value": {
			Op: entry.OpExpire, Key: []byte("k"), Value: []byte("v"), Attributes: entry.Attributes{ExpiresMillis: 1},
		},
		"no number":        put(func(e *entry.Entry) { e.IsNumber, e.Value = true, []byte("007") }),
		"number too large": put(func(e *entry.Entry) { e.IsNumber, e.Value = true, []byte("9223372036854775808") }),
		"idempotent no-op": {Op: entry.OpNoop, Idempotency: &entry.Idempotency{Key: []byte("k"), Hash: make([]byte, 8)}},
		"long idempotency key": put(func(e *entry.Entry) {
			e.Idempotency = &entry.Idempotency{Key: make([]byte, 256), Hash: make([]byte, 8)}
		}),
		"no idempotency key": put(func(e *entry.Entry) { e.Idempotency = &entry.Idempotency{Hash: make([]byte, 8)} }),
		"short hash":         put(func(e *entry.Entry) { e.Idempotency = &entry.Idempotency{Key: []byte("k"), Hash: make([]byte, 7)} }),
		"unsorted":           put(func(e *entry.Entry) { e.Attributes.Metadata = []entry.Pair{{Name: "b"}, {Name: "a"}} }),
		"twice":              put(func(e *entry.Entry) { e.Attributes.Metadata = []entry.Pair{{Name: "a"}, {Name: "a"}} }),
	} {
		require.Error(t, e.Validate(), name)
		require.Panics(t, func() { entry.Encode(nil, e) }, name)
	}
	largest := put(func(e *entry.Entry) {
		e.Key, e.Value = make([]byte, ring.MaxKeyBytes), make([]byte, entry.MaxValueBytes)
		e.Attributes.ContentType = strings.Repeat("t", entry.MaxAttributeBytes-2)
		e.Idempotency = &entry.Idempotency{
			Key: make([]byte, entry.MaxIdempotencyKeyBytes), Hash: make([]byte, entry.MaxIdempotencyHashBytes),
		}
	})
	require.NoError(t, largest.Validate())
	b := entry.Encode(nil, largest)
	require.Len(t, b, entry.MaxEncodedBytes)
	require.NoError(t, entry.Decode(b, &entry.Entry{}))
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	b := entry.Encode(nil, &entry.Entry{Seq: 1, Op: entry.OpPut, Key: []byte("key"), Value: make([]byte, 100)})
	var e entry.Entry
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := entry.Decode(b, &e); err != nil {
			t.Fatal(err)
		}
	}))
	buffer := make([]byte, 0, 1024)
	require.Zero(t, testing.AllocsPerRun(100, func() { buffer = entry.Encode(buffer[:0], &e) }))
}

func TestAliases(t *testing.T) {
	b := entry.Encode(nil, &entry.Entry{Op: entry.OpPut, Key: []byte("key"), Value: []byte("value")})
	var e entry.Entry
	require.NoError(t, entry.Decode(b, &e))
	_ = append(e.Key, "overwritten?"...)
	require.Equal(t, "value", string(e.Value), "appending to the key must not reach the value")
}

func drawReplica(rng *rand.Rand) ring.Replica {
	return ring.Replica{Node: ring.NodeID(strings.Repeat("n", rng.IntN(20))), Store: ring.StoreID(rng.Uint64())}
}

func TestConfiguration(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		p := ring.Partition{ID: ring.PartitionID(rng.Uint32()), Epoch: ring.Epoch(rng.Uint64()), Primary: drawReplica(rng)}
		for range rng.IntN(entry.MaxMembers + 1) {
			p.InSync = append(p.InSync, drawReplica(rng))
		}
		for range rng.IntN(4) {
			p.Joining = append(p.Joining, drawReplica(rng))
		}
		if rng.IntN(2) == 0 {
			p.SeqFloor = rng.Uint64() | 1
		}
		b := entry.EncodeConfiguration(p)
		got, err := entry.DecodeConfiguration(b)
		require.NoError(t, err)
		require.Equal(t, p, got)
		at := rng.IntN(len(b))
		_, err = entry.DecodeConfiguration(b[:at])
		require.ErrorIs(t, err, entry.ErrMalformed)
		b[at] ^= 1 << rng.IntN(8)
		_, err = entry.DecodeConfiguration(b)
		require.ErrorIs(t, err, entry.ErrMalformed)
	}
	require.Panics(t, func() { entry.EncodeConfiguration(ring.Partition{InSync: make([]ring.Replica, entry.MaxMembers+1)}) })
	long := ring.Replica{Node: ring.NodeID(strings.Repeat("n", entry.MaxNodeIDBytes+1))}
	require.Panics(t, func() { entry.EncodeConfiguration(ring.Partition{Primary: long}) })
}

func BenchmarkEncode(b *testing.B) {
	e := entry.Entry{Seq: 1, Op: entry.OpPut, Key: []byte("user0000000001"), Value: make([]byte, 128)}
	buffer := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buffer = entry.Encode(buffer[:0], &e)
	}
}

func BenchmarkDecode(b *testing.B) {
	encoded := entry.Encode(nil, &entry.Entry{Seq: 1, Op: entry.OpPut, Key: []byte("user0000000001"), Value: make([]byte, 128)})
	var e entry.Entry
	b.ReportAllocs()
	for b.Loop() {
		if err := entry.Decode(encoded, &e); err != nil {
			b.Fatal(err)
		}
	}
}
