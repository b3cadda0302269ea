package replica

import (
	"bytes"
	"hash/maphash"

	"github.com/kringdb/kring/node/entry"
)

// tailIndex finds a key's newest entry in a tail that is too long to be looked through. It is built when it is first
// needed, and knows keys by their hash; where two share one, the tail is looked through after all.
type tailIndex struct {
	newest map[uint64]uint64 // seq by hash of the key
	to     uint64            // entries up to here are in it
}

const shortTail = 64 // looked through

var tailSeed = maphash.MakeSeed()

// inTail is the newest entry in memory that changes key; nil if there is none.
func (p *partition) inTail(key []byte) *entry.Entry {
	n := p.tail.len()
	if n <= shortTail {
		return p.scanTail(key)
	}
	x := &p.tailIndex
	if x.newest == nil || len(x.newest) > 4*n {
		*x = tailIndex{newest: make(map[uint64]uint64, n)}
	}
	for seq := max(x.to, p.tailBase) + 1; seq <= p.last; seq++ {
		x.newest[maphash.Bytes(tailSeed, p.tail.at(int(seq-p.tailBase-1)).entry.Key)] = seq
	}
	x.to = p.last
	seq, ok := x.newest[maphash.Bytes(tailSeed, key)]
	if !ok || seq <= p.tailBase {
		return nil
	}
	if e := p.tail.at(int(seq - p.tailBase - 1)).entry; bytes.Equal(e.Key, key) {
		return e
	}
	return p.scanTail(key)
}

func (p *partition) scanTail(key []byte) *entry.Entry {
	for i := p.tail.len() - 1; i >= 0; i-- {
		if e := p.tail.at(i).entry; e.Op != entry.OpNoop && bytes.Equal(e.Key, key) {
			return e
		}
	}
	return nil
}
