package node

import (
	"context"
	"fmt"
	"time"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/ring"
)

// Keys past their expiry that nobody asks for are taken away in the background, each by an entry of the log. A round sees to at most
// expirePartitions·expireKeys of them, and the next one follows soon while there are more: 200,000 a second at most, and fewer where
// the log is slower (replica.Core.ExpiryDue). A round that finds nothing due costs one look at a few hundred numbers in memory.
const (
	expireEvery      = 250 * time.Millisecond
	expireSoon       = 10 * time.Millisecond
	expireLinger     = 25 // rounds without anything due until they are rare again: what was logged last is applied by then
	expirePartitions = 16
	expireKeys       = 128 // of a partition in a round: about 0.2 ms of the protocol's time
)

// expireLoop looks for keys past their expiry until ctx ends. The error is the store's.
func (e *engine) expireLoop(ctx context.Context) error {
	timer := time.NewTimer(expireEvery)
	defer timer.Stop()
	for idle := expireLinger; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		found, err := e.expireRound()
		if err != nil {
			return err
		}
		if idle++; found > 0 {
			idle = 0
		}
		if idle < expireLinger {
			timer.Reset(expireSoon)
		} else {
			timer.Reset(expireEvery)
		}
	}
}

// expireRound tells the protocol of some keys that are past their expiry, and returns how many.
func (e *engine) expireRound() (found int, err error) {
	e.expiring.Lock()
	defer e.expiring.Unlock()
	defer func() {
		if found > 0 {
			e.expiryRounds++
		}
	}()
	e.mu.Lock()
	due, before := e.core.ExpiryDue(expirePartitions)
	e.mu.Unlock()
	for _, p := range due {
		n, err := e.expire(p, before)
		if found += n; err != nil {
			return found, err
		}
	}
	return found, nil
}

// expire tells the protocol of the keys of a partition that are past their expiry. On a backup that only rids the store's
// index of what leads nowhere.
func (e *engine) expire(p ring.PartitionID, before uint64) (found int, err error) {
	e.mu.Lock()
	mark, _ := e.core.AppliedMark(p)
	e.mu.Unlock()
	due, next, err := e.store.Expired(p, before, expireKeys)
	if err != nil {
		return 0, fmt.Errorf("node: keys past their expiry cannot be found, so this node stops: %w", err)
	}
	ev := replica.Expire{Partition: p, Mark: mark, Next: next}
	for _, x := range due {
		ev.Keys = append(ev.Keys, replica.Expiring{Key: x.Key, Millis: x.Millis})
	}
	e.step(&ev)
	return len(due), nil
}
