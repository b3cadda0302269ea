package replica

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

func testRequest(n uint64) (id entry.RequestID) {
	binary.LittleEndian.PutUint64(id[:], n)
	return id
}

func bareCore() *Core {
	c, err := New(simConfig(ring.Replica{Node: "n1", Store: 1}, 1), memoryDisk{}, func() uint64 { return 0 }, nil, 0)
	if err != nil {
		panic(err)
	}
	return c
}

// remembering is a core that holds one partition whose entries come from nowhere.
func remembering(requestsFor, maxRequests int) (*Core, *partition, func(n uint64)) {
	c := bareCore()
	c.cfg.RequestsFor, c.cfg.MaxRequests = time.Duration(requestsFor), maxRequests
	p := c.partition(0)
	return c, p, func(n uint64) {
		p.last++
		c.remember(p, &entry.Entry{
			Seq: p.last, HybridTime: p.last << 16, Request: testRequest(n), Op: entry.OpPut, Key: []byte("k"), Existed: n%2 == 0,
			Value: []byte("-12"), IsNumber: n%3 == 0,
		})
		p.applied = p.last
	}
}

func TestRequestsAreRememberedForAWhile(t *testing.T) {
	c, p, push := remembering(50e6, 1000) // 50 entries, a millisecond apart
	for n := uint64(1); n <= 500; n++ {
		push(n)
		if n == 200 { // from here on with an index
			_, ok := p.requests.find(0, testRequest(149))
			require.False(t, ok)
		}
	}
	require.Equal(t, uint64(449), p.requests.from)
	require.Equal(t, 51, c.requestCount)
	for n := uint64(1); n <= 500; n++ {
		m, ok := p.requests.find(0, testRequest(n))
		require.Equal(t, n > 449, ok, n)
		if ok {
			require.Equal(t, n, m.seq)
			require.Equal(t, n%2 == 0, m.existed)
			require.Equal(t, map[bool]int64{true: -12}[n%3 == 0], m.number)
		}
	}
	require.Len(t, p.requests.index, 51)
	c.forgetAbove(p, 480)
	p.last = 480
	_, ok := p.requests.find(0, testRequest(481))
	require.False(t, ok)
	push(1000)
	m, ok := p.requests.find(0, testRequest(1000))
	require.True(t, ok)
	require.Equal(t, uint64(481), m.seq)
	require.Len(t, p.requests.index, 32)
}

func TestRequestsAreBounded(t *testing.T) {
	c, p, push := remembering(3600e9, 100)
	for n := uint64(1); n <= 1000; n++ {
		push(n)
	}
	require.Equal(t, 100, c.requestCount)
	require.Equal(t, uint64(900), p.requests.from)
	p.applied = 900
	for n := uint64(1001); n <= 1010; n++ {
		p.last++
		c.remember(p, &entry.Entry{Seq: p.last, Request: testRequest(n), Op: entry.OpPut, Key: []byte("k")})
	}
	require.Equal(t, 110, c.requestCount, "what is not applied is not forgotten")
}

func TestRequestsTravelWithSnapshots(t *testing.T) {
	c, p, push := remembering(3600e9, 1<<20)
	p.last, p.applied, p.requests.from = 100, 100, 90
	for n := uint64(1); n <= 3000; n++ {
		push(n)
	}
	chunks := c.Requests(0)
	require.Len(t, chunks, 3)
	require.NoError(t, CheckRequests(chunks))
	to := bareCore()
	q := to.partition(0)
	to.installRequests(q, 2100, chunks)
	require.Equal(t, uint64(90), q.requests.from)
	require.Equal(t, 2000, to.requestCount)
	for n := uint64(1); n <= 3000; n++ {
		m, ok := q.requests.find(0, testRequest(n))
		require.Equal(t, n <= 2000, ok)
		if ok {
			want, _ := p.requests.find(0, testRequest(n))
			require.Equal(t, want, m)
		}
	}
	for name, chunks := range map[string][][]byte{
		"none": nil, "too early": chunks, "cut short": {chunks[0][:50]}, "in another order": {chunks[1], chunks[0]},
	} {
		to.installRequests(q, 3200, chunks)
		require.Equal(t, uint64(3200), q.requests.from, name)
		require.Zero(t, to.requestCount, name)
	}
}

func TestManyRequestsTravelInPart(t *testing.T) {
	c, _, push := remembering(3600e9, 1<<20)
	const many = maxExportedMarks + 5000
	for n := uint64(1); n <= many; n++ {
		push(n)
	}
	marks, from, through, err := decodeRequests(c.Requests(0))
	require.NoError(t, err)
	require.Len(t, marks, maxExportedMarks)
	require.Equal(t, uint64(5000), from)
	require.Equal(t, uint64(many), through)
}

// FuzzRequests feeds an import anything.
func FuzzRequests(f *testing.F) {
	_, p, push := remembering(3600e9, 100)
	push(1)
	f.Add(appendRequestMark(make([]byte, requestHeaderBytes), p.requests.recent.at(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		marks, from, _, err := decodeRequests([][]byte{b})
		if err != nil {
			require.ErrorIs(t, err, errMalformedRequests)
			return
		}
		for _, m := range marks {
			require.Greater(t, m.seq, from)
		}
		to := bareCore()
		to.installRequests(to.partition(0), 1<<40, [][]byte{b})
	})
}

// Entries may come and go for ever: what is moved within the queue is paid for.
func TestQueueMovesLittle(t *testing.T) {
	var f fifo[int]
	for i := range 100 {
		f.push(i)
	}
	for i := 100; i < 100_000; i++ {
		f.push(i)
		oldest, _ := f.peek()
		require.Equal(t, i-100, oldest)
		f.pop()
	}
	require.LessOrEqual(t, cap(f.items), 512)
}
