package coordinator

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kringdb/kring/coordinator/gossip"
)

const votesPoll = 100 * time.Millisecond // while this coordinator has no vote

// votes is raft's network with one more rule: a coordinator whose disk was empty neither votes nor stands for election
// before it holds everything decided. Its disk may have been wiped, and with it what it had acknowledged: with its vote a
// coordinator that missed those decisions could win, and they would be lost.
//
// At the bootstrap all disks are empty, and nobody could win. So the rule does not hold while most coordinators are new:
// what most of them do not hold was never decided.
type votes struct {
	*raft.NetworkTransport
	mostAreNew func() bool
	consumer   chan raft.RPC
	stop       chan struct{}
	stopped    sync.WaitGroup
	once       sync.Once

	has     atomic.Bool
	refused atomic.Uint64 // votes not given

	mu     sync.Mutex
	term   uint64 // of the leader that was heard last
	commit uint64 // index that it named as decided
}

var (
	_ raft.Transport   = (*votes)(nil)
	_ raft.WithPreVote = (*votes)(nil)
	_ raft.WithClose   = (*votes)(nil)
)

func newVotes(t *raft.NetworkTransport, has bool, mostAreNew func() bool) *votes {
	v := &votes{NetworkTransport: t, mostAreNew: mostAreNew, consumer: make(chan raft.RPC), stop: make(chan struct{})}
	v.has.Store(has)
	v.stopped.Go(v.filter)
	return v
}

func (v *votes) may() bool { return v.has.Load() || v.mostAreNew() }

// Consumer is raft's.
func (v *votes) Consumer() <-chan raft.RPC { return v.consumer }

// Close ends the filter and closes the network.
func (v *votes) Close() error {
	v.once.Do(func() { close(v.stop) })
	v.stopped.Wait()
	return v.NetworkTransport.Close()
}

// RequestVote is raft's: it asks another coordinator for its vote.
func (v *votes) RequestVote(
	id raft.ServerID, target raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse,
) error {
	if !v.may() {
		*resp = raft.RequestVoteResponse{RPCHeader: answerTo(req.RPCHeader)} // as if refused
		return nil
	}
	return v.NetworkTransport.RequestVote(id, target, req, resp)
}

// RequestPreVote is raft's: it asks whether RequestVote would have a chance.
func (v *votes) RequestPreVote(
	id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	if !v.may() {
		*resp = raft.RequestPreVoteResponse{RPCHeader: answerTo(req.RPCHeader)}
		return nil
	}
	return v.NetworkTransport.RequestPreVote(id, target, req, resp)
}

// answerTo names no term: a refusal must not make anybody step down.
func answerTo(h raft.RPCHeader) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: h.ProtocolVersion}
}

// filter hands on to raft what others ask of it, but for votes that must not be given.
func (v *votes) filter() {
	in := v.NetworkTransport.Consumer()
	for {
		select {
		case <-v.stop:
			return
		case rpc := <-in:
			if v.answered(&rpc) {
				continue
			}
			select {
			case v.consumer <- rpc:
			case <-v.stop:
				return
			}
		}
	}
}

// answered refuses a vote, and notes what a leader says is decided.
func (v *votes) answered(rpc *raft.RPC) bool {
	if v.has.Load() {
		return false
	}
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		v.mu.Lock()
		defer v.mu.Unlock()
		switch {
		case req.Term > v.term:
			v.term, v.commit = req.Term, req.LeaderCommitIndex
		case req.Term == v.term: // they may come in another order than they were sent in
			v.commit = max(v.commit, req.LeaderCommitIndex)
		}
	case *raft.RequestVoteRequest:
		if !v.mostAreNew() {
			v.refused.Add(1)
			rpc.Respond(&raft.RequestVoteResponse{RPCHeader: answerTo(req.RPCHeader)}, nil)
			return true
		}
	case *raft.RequestPreVoteRequest:
		if !v.mostAreNew() {
			v.refused.Add(1)
			rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: answerTo(req.RPCHeader)}, nil)
			return true
		}
	}
	return false
}

// caughtUp reports whether the log, whose last entry is given, holds everything that was decided when a leader was last
// heard. A leader begins its term with an entry of its own: where that is held, so is everything decided before, and what
// was decided since lies below the leader's commit index.
func (v *votes) caughtUp(lastIndex, lastTerm uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.term > 0 && v.commit > 0 && lastTerm == v.term && lastIndex >= v.commit
}

// mostAreNew reports whether of the expected coordinators most are alive, by gossip, and have never had a vote. It is a
// pure function of what gossip says.
func mostAreNew(expected int, members []gossip.Member) bool {
	alive, fresh := 0, 0
	for _, m := range members {
		if m.Role != gossip.RoleCoordinator || !m.Alive {
			continue
		}
		alive++
		if m.Disk == gossip.DiskFresh || m.Disk == gossip.DiskCatchingUp {
			fresh++
		}
	}
	// One that was started to be alone needs nobody's vote, and has none to give to others.
	return expected > 1 && fresh > max(expected, alive)/2
}

// earnVote waits until this coordinator holds everything decided, and gives it its vote for good.
func (c *Coordinator) earnVote(ctx context.Context, d *disk) error {
	ticker := time.NewTicker(votesPoll)
	defer ticker.Stop()
	for !c.holdsAll() {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	if err := d.setNew(false); err != nil {
		return err
	}
	c.consensus.votes.has.Store(true)
	c.cfg.Logger.Info("caught up with the coordinators: has a vote from now on")
	return c.cfg.Gossip.SetDisk(gossip.DiskUsed)
}

func (c *Coordinator) holdsAll() bool {
	if c.led.Load() { // a leader has everything decided applied
		return true
	}
	stats := c.consensus.raft.Stats()
	entry, err := strconv.ParseUint(stats["last_log_term"], 10, 64)
	if err != nil {
		return false
	}
	snapshot, err := strconv.ParseUint(stats["last_snapshot_term"], 10, 64)
	return err == nil && c.consensus.votes.caughtUp(c.consensus.raft.LastIndex(), max(entry, snapshot))
}
