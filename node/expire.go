package node

import (
	"context"
	"fmt"
	"time"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/ring"
)

// Keys past their expiry that nobody asks for are taken away in the background: at most expirePartitions·expireKeys of them, each an
// entry of the log, every expireEvery. A round that finds nothing due costs one look at a few hundred numbers in memory.
const (
	expireEvery      = 250 * time.Millisecond
	expirePartitions = 16
	expireKeys       = 64 // of a partition in a round
)

// expireLoop looks for keys past their expiry until ctx ends. The error is the store's.
func (e *engine) expireLoop(ctx context.Context) error {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		e.mu.Lock()
		due, before := e.core.ExpiryDue(expirePartitions)
		e.mu.Unlock()
		for _, p := range due {
			if err := e.expire(p, before); err != nil {
				return err
			}
		}
	}
}

// expire tells the protocol of the keys of a partition that are past their expiry. On a backup that only rids the store's
// index of what leads nowhere.
func (e *engine) expire(p ring.PartitionID, before uint64) error {
	e.mu.Lock()
	mark, _ := e.core.AppliedMark(p)
	e.mu.Unlock()
	due, next, err := e.store.Expired(p, before, expireKeys)
	if err != nil {
		return fmt.Errorf("node: keys past their expiry cannot be found, so this node stops: %w", err)
	}
	ev := replica.Expire{Partition: p, Mark: mark, Next: next}
	for _, x := range due {
		ev.Keys = append(ev.Keys, replica.Expiring{Key: x.Key, Millis: x.Millis})
	}
	e.step(&ev)
	return nil
}
