package store

import (
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

const (
	maxCachedValue  = 16 << 10 // larger ones cost little more to read from Pebble's own cache, and would drive out many small ones
	valueEntryBytes = 192      // what a value costs beside its bytes and its key's, about
)

// values keeps applied values by key, so that a read need not look for them in each level of the data: what is in it is what a read
// of the data would find. Three rules see to that:
//
//   - Apply, once the data shows a batch, counts the partitions it has changed and then renews or removes the keys (applied), before
//     anybody is told that the batch is applied.
//   - A read that found nothing here puts in what it has read only if its partition was not counted since before it read (fill). So
//     what is put in after the count is newer than the batch, and what was put in before is renewed.
//   - Keys are those of one generation of the partition's data, which is taken once for both. Generations only rise, so that nothing
//     that was kept of one is ever found again once another is the current one.
//
// Values in it are shared by all who read them, and never modified.
type values struct {
	cache *otter.Cache[valueKey, Value] // nil: none

	hits, misses atomic.Uint64

	counting sync.RWMutex // held shared while a read puts in what it has read, and alone while partitions are counted
	changed  [ring.MaxPartitions]atomic.Uint64
}

type valueKey struct {
	place uint64 // partition and generation
	key   string
}

func (c *values) init(bytes int64) {
	if bytes < 0 {
		return
	}
	c.cache = otter.Must(&otter.Options[valueKey, Value]{
		MaximumWeight: uint64(bytes),
		Weigher:       weigh,
		Executor:      func(work func()) { work() }, // by whoever makes it due: no goroutine of its own
	})
}

func weigh(k valueKey, v Value) uint32 {
	bytes := valueEntryBytes + len(k.key) + len(v.Value) + len(v.Attributes.ContentType) + len(v.Attributes.ContentEncoding)
	for _, pair := range v.Attributes.Metadata {
		bytes += len(pair.Name) + len(pair.Value) + 32
	}
	return uint32(bytes)
}

// lookup names a key for a call that does not keep it.
func (c *values) lookup(p ring.PartitionID, generation uint32, key []byte) valueKey {
	return valueKey{place: uint64(p)<<32 | uint64(generation), key: unsafe.String(unsafe.SliceData(key), len(key))}
}

// missed is a read that goes on in the data where the cache has nothing.
type missed struct {
	key     valueKey
	changed uint64
}

// get looks for a key. If it is not there, r is for fill; the caller looks in the data after it has called get.
func (c *values) get(p ring.PartitionID, generation uint32, key []byte) (v Value, ok bool, r missed) {
	if c.cache == nil || p >= ring.MaxPartitions {
		return Value{}, false, missed{}
	}
	r.key = c.lookup(p, generation, key)
	if v, ok = c.cache.GetIfPresent(r.key); ok {
		c.hits.Add(1)
		return v, true, r
	}
	c.misses.Add(1)
	r.changed = c.changed[p].Load()
	return Value{}, false, r
}

// fill puts in what a read has found, unless its partition has changed since.
func (c *values) fill(p ring.PartitionID, r missed, v *Value) {
	if c.cache == nil || p >= ring.MaxPartitions || v.Value == nil || len(v.Value) > maxCachedValue {
		return
	}
	c.counting.RLock()
	defer c.counting.RUnlock()
	if c.changed[p].Load() == r.changed {
		r.key.key = strings.Clone(r.key.key)
		c.cache.Set(r.key, *v)
	}
}

// applied takes note of a batch that the data shows. A key that is in the cache is likely to be read again, and stays with its new value.
func (c *values) applied(batch []Applied, generation func(ring.PartitionID) uint32) {
	if c.cache == nil {
		return
	}
	c.counting.Lock()
	for i := range batch {
		c.changed[batch[i].Partition].Add(1)
	}
	c.counting.Unlock()
	for i := range batch {
		p, e := batch[i].Partition, batch[i].Entry
		if e.Op == entry.OpNoop {
			continue
		}
		key := c.lookup(p, generation(p), e.Key)
		old, ok := c.cache.GetEntryQuietly(key)
		switch {
		case !ok:
		case e.Op == entry.OpPut && len(e.Value) <= maxCachedValue:
			c.cache.Set(old.Key, valueOf(e))
		default:
			c.cache.Invalidate(key)
		}
	}
}

// valueOf is what a read finds once e is applied.
func valueOf(e *entry.Entry) Value {
	v := Value{Version: e.Seq, Epoch: e.Epoch, HybridTime: e.HybridTime, Value: cloneBytes(e.Value), Attributes: e.Attributes}
	v.Attributes.ContentType = strings.Clone(e.Attributes.ContentType)
	v.Attributes.ContentEncoding = strings.Clone(e.Attributes.ContentEncoding)
	v.Attributes.Metadata = nil
	for _, pair := range e.Attributes.Metadata {
		v.Attributes.Metadata = append(v.Attributes.Metadata, entry.Pair{Name: strings.Clone(pair.Name), Value: strings.Clone(pair.Value)})
	}
	return v
}
