package coordinator

import (
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// watch follows the table as a node does, and keeps nothing of it but the version: a thousand tables do not fit in memory.
func (n *simNode) watch() {
	seeds := slices.Clone(n.swarm.seeds)
	for n.ctx.Err() == nil {
		rand.Shuffle(len(seeds), func(i, j int) { seeds[i], seeds[j] = seeds[j], seeds[i] })
		for _, seed := range seeds {
			n.watchOne(seed)
		}
		pause := time.NewTimer(rand.N(100 * time.Millisecond))
		select {
		case <-n.ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

func (n *simNode) watchOne(seed string) {
	w, err := n.dial(seed)
	if err != nil {
		return
	}
	defer func() { _ = w.Close() }() // at its end it may be closed already
	req := &kringv1.WatchRingRequest{ClusterId: n.clusterID, FromVersion: n.version.Load()}
	if err := w.send(kringv1.CoordinatorService_WatchRing_FullMethodName, req); err != nil {
		return
	}
	for {
		b, err := w.next()
		if err != nil {
			return
		}
		f, err := frameIn(b)
		if err != nil {
			n.swarm.t.Errorf("frame: %v", err)
			return
		}
		n.version.Store(max(n.version.Load(), f.version))
		s := n.swarm
		s.watched.Add(uint64(f.size))
		s.frames.Add(1)
		for {
			largest := s.largest.Load()
			if uint64(f.size) <= largest || s.largest.CompareAndSwap(largest, uint64(f.size)) {
				break
			}
		}
	}
}

// rawFrame is a WatchRingResponse of which only the size and the version are read.
type rawFrame struct {
	size    int
	version uint64
}

func frameIn(b []byte) (f rawFrame, err error) {
	const tableField, changeField = 1, 2
	f.size = len(b)
	for len(b) > 0 {
		field, kind, used := protowire.ConsumeTag(b)
		if used < 0 {
			return f, protowire.ParseError(used)
		}
		b = b[used:]
		if used = protowire.ConsumeFieldValue(field, kind, b); used < 0 {
			return f, protowire.ParseError(used)
		}
		if inner, n := protowire.ConsumeBytes(b); n > 0 && (field == tableField || field == changeField) {
			f.version = versionIn(inner, field) // a table's version is its first field, a change's is its second
		}
		b = b[used:]
	}
	return f, nil
}

func versionIn(b []byte, wanted protowire.Number) uint64 {
	for len(b) > 0 {
		field, kind, used := protowire.ConsumeTag(b)
		if used < 0 || kind != protowire.VarintType {
			return 0
		}
		v, n := protowire.ConsumeVarint(b[used:])
		if n < 0 || field == wanted {
			return v
		}
		b = b[used+n:]
	}
	return 0
}
