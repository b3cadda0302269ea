package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/kringdb/kring/cmd/internal/listen"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

const (
	// replaceLeast is how long an empty directory in place of a damaged one must have lasted for another to take its place: a
	// disk that damages one after the other is for a person to look at.
	replaceLeast = time.Minute
	// diskPatience bounds closing a disk, and marking it as damaged. One that hangs is left behind: whatever was acknowledged
	// is on it, or on others, and the process must end for another one to take its place.
	diskPatience = 5 * time.Second
)

func (n *nodeRunner) openDisk() error {
	disk, _, err := store.OpenOrReplace(n.config.Data, store.Options{
		FS: n.config.FS, Node: ring.NodeID(n.config.ID), Logger: n.config.Logger,
	})
	if err != nil {
		return fmt.Errorf("data directory %s: %w", n.config.Data, err)
	}
	n.mu.Lock()
	n.disk = disk
	n.mu.Unlock()
	return nil
}

// closeDisk closes the disk, and marks it if it turns out to be damaged at that.
func (n *nodeRunner) closeDisk() error {
	n.mu.Lock()
	disk := n.disk
	n.disk = nil
	n.mu.Unlock()
	if disk == nil {
		return nil
	}
	err := within(n.patience, disk.Close)
	if err == nil {
		return nil
	}
	if store.Damaged(err) {
		return n.giveUp(err)
	}
	return fmt.Errorf("close the data directory %s: %w", n.config.Data, err)
}

// errHangs says that a disk did not do in time what it was told to. It may yet do so.
var errHangs = errors.New("the disk hangs")

// within waits for f, but not for ever.
func within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%w: not done after %v", errHangs, limit)
	}
}

// run ends when ctx does, or with an error that a person has to see to.
func (n *nodeRunner) run(ctx context.Context) error {
	var replaced time.Time
	for {
		err := n.current().Run(ctx)
		if err == nil || !store.Damaged(err) {
			return err
		}
		// Bits that have changed are over with once the directory is. A disk that takes no writes is not given another try before a
		// person, or a supervisor, starts the node again.
		if ctx.Err() != nil || !errors.Is(err, store.ErrCorrupt) {
			return n.giveUp(err)
		}
		if err := n.mark(err); err != nil {
			return err
		}
		if lasted := time.Since(replaced); lasted < replaceLeast {
			return fmt.Errorf("the data directory %s was damaged again, after %s: check the disk, then start the node, and it is filled "+
				"anew from the other copies: %w", n.config.Data, lasted.Round(time.Second), err)
		}
		replaced = time.Now()
		if err := n.replace(); err != nil {
			return fmt.Errorf("in place of a damaged data directory: %w", err)
		}
	}
}

// mark sees to it that the directory is never again opened as what it was.
func (n *nodeRunner) mark(cause error) error {
	err := within(n.patience, func() error { return store.Quarantine(n.config.FS, n.config.Data, cause.Error()) })
	if err != nil {
		return fmt.Errorf("%w; and the data directory %s cannot be marked as damaged (%w): check the disk, and start the node with an "+
			"empty directory, which is filled from the other copies", cause, n.config.Data, err)
	}
	return nil
}

// giveUp marks the directory and says what to do.
func (n *nodeRunner) giveUp(cause error) error {
	if err := n.mark(cause); err != nil {
		return err
	}
	return fmt.Errorf("%w; the data directory %s is marked as damaged: check the disk and start the node again, and an empty directory "+
		"takes its place, which is filled from the other copies", cause, n.config.Data)
}

// openFirstNode opens a node. Bits that have changed may be met only now, when what the log and the tables hold is looked at: the
// node is then opened with an empty directory instead.
func (n *nodeRunner) openFirstNode(listener net.Listener) (replaced bool, err error) {
	err = n.openNode(listener)
	if !errors.Is(err, store.ErrCorrupt) {
		return false, err
	}
	if err := n.mark(err); err != nil {
		return false, err
	}
	if err := n.reopenDisk(); err != nil {
		return false, err
	}
	return true, n.openNode(listener)
}

// reopenDisk opens an empty directory in the place of one that is marked.
func (n *nodeRunner) reopenDisk() error {
	if err := n.closeDisk(); errors.Is(err, errHangs) {
		return err
	} else if err != nil {
		n.config.Logger.Warn("closing a damaged data directory", "directory", n.config.Data, "error", err)
	}
	return n.openDisk()
}

// replace goes on with an empty directory, as a stranger to the cluster that is filled from the other copies.
func (n *nodeRunner) replace() error {
	if err := n.reopenDisk(); err != nil {
		return err
	}
	listener, err := listen.TCP(n.member.grpc, n.config.Insecure)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := n.openNode(listener); err != nil {
		return errors.Join(err, listener.Close())
	}
	return n.member.gossip.SetBoot(n.disk.Identity().Boot)
}
