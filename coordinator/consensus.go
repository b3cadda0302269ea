package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// Raft's settings beside its timeouts.
const (
	raftCommitEvery       = 50 * time.Millisecond // how soon an idle leader tells followers what is committed
	raftTransportTimeout  = 5 * time.Second       // of one message
	raftPooledConnections = 3                     // to each other coordinator
	raftRequestsInFlight  = 1                     // to each: no pipeline, see newTransport
	snapshotEvery         = 30 * time.Second      // looks whether a snapshot is due
	snapshotThreshold     = 4096                  // entries since the last one
	trailingEntries       = 4096                  // kept behind a snapshot for followers that are a little late
	proposeTimeout        = 2 * time.Second       // to get into raft's queue
	maxCommandBytes       = 16 << 20
)

// consensus is raft with what it stands on.
type consensus struct {
	raft   *raft.Raft
	votes  *votes // raft's network
	logger *slog.Logger
}

// startConsensus owns the listener from here on, failing or not.
func startConsensus(cfg *Config, d *disk, m *machine) (*consensus, error) {
	logger := newRaftLogger(cfg.Logger)
	v := newVotes(newTransport(cfg, logger), !d.isNew, func() bool { return mostAreNew(cfg.BootstrapCoordinators, cfg.Gossip.Members()) })
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(cfg.ID)
	rc.HeartbeatTimeout, rc.ElectionTimeout = cfg.RaftTimeout, cfg.RaftTimeout
	rc.LeaderLeaseTimeout = cfg.RaftTimeout / 2
	rc.CommitTimeout = raftCommitEvery
	rc.SnapshotInterval, rc.SnapshotThreshold, rc.TrailingLogs = snapshotEvery, snapshotThreshold, trailingEntries
	rc.Logger = logger
	rc.NoLegacyTelemetry = true
	r, err := raft.NewRaft(rc, m, d.log, d.log, d.snapshots, v)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("coordinator: raft: %w", err), v.Close())
	}
	c := &consensus{raft: r, votes: v, logger: cfg.Logger}
	if err := c.checkAddress(cfg.ID, cfg.RaftAdvertise); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// newTransport makes a network without raft's pipelines. In one of those the sender waits for ever once the follower has refused
// an entry at the wrong moment (hashicorp/raft issue 612): it is sent heartbeats and no entries until the leader goes, and the
// leader cannot stop. Without them entries that come together still go together.
func newTransport(cfg *Config, logger hclog.Logger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newStream(cfg.RaftListener, cfg.RaftAdvertise, cfg.Gossip.ClusterName()),
		MaxPool: raftPooledConnections, MaxRPCsInFlight: raftRequestsInFlight, Timeout: raftTransportTimeout, Logger: logger,
	})
}

// checkAddress refuses to run where the other coordinators would not look.
func (c *consensus) checkAddress(id, address string) error {
	servers, err := c.servers()
	if err != nil || len(servers) == 0 {
		return err
	}
	for _, s := range servers {
		if s.ID != raft.ServerID(id) {
			continue
		}
		if string(s.Address) != address {
			return fmt.Errorf("coordinator: the others know %s at raft address %s, not %s: start it with that one", id, s.Address,
				address)
		}
		return nil
	}
	return fmt.Errorf("coordinator: %s is not one of its cluster's coordinators any more", id)
}

// servers are the coordinators by raft's configuration; empty before the bootstrap.
func (c *consensus) servers() ([]raft.Server, error) {
	f := c.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("coordinator: raft configuration: %w", err)
	}
	return f.Configuration().Servers, nil
}

// leader is the id of the coordinator that leads, as far as this one knows; empty for none.
func (c *consensus) leader() string {
	_, id := c.raft.LeaderWithID()
	return string(id)
}

func (c *consensus) leading() bool { return c.raft.State() == raft.Leader }

// propose has a command decided and applied, and returns what it came to. An error of code NOT_LEADER or BUSY means that
// it was not decided; OUTCOME_UNKNOWN that it may have been, or may yet be. It returns within a few raft timeouts, because
// a leader that cannot reach a majority stops leading.
func (c *consensus) propose(cmd *kringv1.CoordinatorCommand) (result, error) {
	cmd.UnixMillis, cmd.KeepsEvents = time.Now().UnixMilli(), true
	b, err := proto.Marshal(cmd)
	if err != nil {
		return result{}, kverr.Newf(kverr.Internal, "command: %v", err)
	}
	if len(b) > maxCommandBytes {
		return result{}, kverr.Newf(kverr.Internal, "command of %d bytes, at most %d", len(b), maxCommandBytes)
	}
	f := c.raft.Apply(b, proposeTimeout)
	if err := f.Error(); err != nil {
		return result{}, proposeError(err)
	}
	r, ok := f.Response().(result)
	if !ok {
		return result{}, kverr.Newf(kverr.Internal, "the state machine answered %T", f.Response())
	}
	return r, r.err
}

func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return kverr.New(kverr.NotLeader, "this coordinator does not lead any more: ask again")
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return kverr.Retry(kverr.Busy, time.Second, "the leader has more to decide than it can: ask again later")
	case errors.Is(err, raft.ErrRaftShutdown):
		return kverr.New(kverr.OutcomeUnknown, "this coordinator stopped before it knew the outcome")
	}
	return kverr.Newf(kverr.OutcomeUnknown, "this coordinator lost the lead before it knew the outcome: %v", err)
}

// transfer gives the lead away, so that a clean stop costs no election timeout. Whether somebody takes it does not matter
// for what follows.
func (c *consensus) transfer() {
	servers, err := c.servers()
	if err != nil || len(servers) < 2 || !c.leading() {
		return
	}
	if err := c.raft.LeadershipTransfer().Error(); err != nil {
		c.logger.Info("the lead was not taken over before the stop", "error", err)
	}
}

func (c *consensus) close() error {
	err := c.raft.Shutdown().Error()
	if terr := c.votes.Close(); terr != nil {
		err = errors.Join(err, terr)
	}
	if err != nil {
		return fmt.Errorf("coordinator: raft: %w", err)
	}
	return nil
}
