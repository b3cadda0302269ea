package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/ring"
)

// expiryScan is how many records of the index are looked at for each that is wanted: the others lead nowhere.
const expiryScan = 4

func (d *disk) Expired(id ring.PartitionID, before uint64, limit int) (due []Expiry, next uint64, err error) {
	if err := d.enter(); err != nil {
		return nil, 0, err
	}
	defer d.open.RUnlock()
	prefix := appendPrefix(nil, spaceExpiry, id, d.generation(id))
	found, next, err := d.scanExpiries(prefix, before, limit*expiryScan)
	if err != nil {
		return nil, 0, d.distrust(fmt.Errorf("partition %d: %w", id, err))
	}
	var stale []Expiry
	for i, x := range found {
		if len(due) == limit {
			next = found[i].Millis
			break
		}
		v, _, ok, err := d.lookup(id, x.Key, false)
		switch {
		case err != nil:
			return nil, 0, err
		case ok && v.Attributes.ExpiresMillis == x.Millis:
			due = append(due, x)
		default:
			stale = append(stale, x)
		}
	}
	return due, next, d.dropStale(id, prefix, stale)
}

// scanExpiries reads the index up to a time. next is the time of the first record that is not among what it returns.
func (d *disk) scanExpiries(prefix []byte, before uint64, limit int) (found []Expiry, next uint64, err error) {
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, 0, dataError(err)
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		key := iter.Key()
		if len(key) < expiryKeyPrefixBytes {
			err = fmt.Errorf("%w: record %x of the index of expiries is malformed", ErrCorrupt, key)
			break
		}
		millis := binary.BigEndian.Uint64(key[dataKeyPrefixBytes:])
		if millis > before || len(found) == limit {
			next = millis
			break
		}
		found = append(found, Expiry{Key: slices.Clone(key[expiryKeyPrefixBytes:]), Millis: millis})
	}
	return found, next, firstError(err, dataError(iter.Error()), dataError(iter.Close()))
}

// dropStale takes records of the index away whose keys no longer expire at their time. Nothing is applied meanwhile, so that a
// key which is given the same time again keeps its record.
func (d *disk) dropStale(id ring.PartitionID, prefix []byte, stale []Expiry) error {
	if len(stale) == 0 {
		return nil
	}
	d.applying.Lock()
	defer d.applying.Unlock()
	b := d.db.NewBatch()
	for _, x := range stale {
		v, _, ok, err := d.lookup(id, x.Key, false)
		if err == nil && (!ok || v.Attributes.ExpiresMillis != x.Millis) {
			key := binary.BigEndian.AppendUint64(slices.Clone(prefix), x.Millis)
			err = dataError(b.Delete(append(key, x.Key...), nil))
		}
		if err != nil {
			return firstError(err, b.Close())
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return dataError(err)
	}
	return dataError(b.Close())
}

// Expired needs no index here: the twin looks at everything.
func (m *memory) Expired(id ring.PartitionID, before uint64, limit int) (due []Expiry, next uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, 0, ErrClosed
	}
	for key, b := range m.data[id] {
		var v Value
		if key[0] != spaceData {
			continue
		}
		if err := decodeValue([]byte(key), b, &v); err != nil {
			return nil, 0, err
		}
		switch at := v.Attributes.ExpiresMillis; {
		case at == 0:
		case at <= before:
			due = append(due, Expiry{Key: []byte(key[1:]), Millis: at})
		case next == 0 || at < next:
			next = at
		}
	}
	slices.SortFunc(due, func(a, b Expiry) int {
		return cmp.Or(cmp.Compare(a.Millis, b.Millis), bytes.Compare(a.Key, b.Key))
	})
	if len(due) > limit {
		due, next = due[:limit], due[limit].Millis
	}
	return due, next, nil
}
