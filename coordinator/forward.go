package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

const (
	// forwardedKey marks a call that a coordinator has handed on: it is answered or refused, never handed on again.
	forwardedKey   = "kring-forwarded-by"
	forwardTimeout = 3 * time.Second
	retryNoLeader  = 200 * time.Millisecond
)

// connections holds one connection to each coordinator that was the leader; there are at most a handful.
type connections struct {
	options []grpc.DialOption

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn
	closed bool
}

func newConnections(options []grpc.DialOption) *connections {
	all := append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	return &connections{options: append(all, options...), conns: map[string]*grpc.ClientConn{}}
}

// peer is another coordinator.
type peer struct {
	kringv1.CoordinatorServiceClient
	kringv1.OperationsServiceClient
	kringv1.CoordinatorsServiceClient
}

func (c *connections) client(address string) (peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return peer{}, kverr.New(kverr.Unavailable, "this coordinator is stopping")
	}
	conn, ok := c.conns[address]
	if !ok {
		var err error
		if conn, err = grpc.NewClient("passthrough:///"+address, c.options...); err != nil {
			return peer{}, kverr.Newf(kverr.Internal, "connection to %s: %v", address, err)
		}
		c.conns[address] = conn
	}
	return peer{kringv1.NewCoordinatorServiceClient(conn), kringv1.NewOperationsServiceClient(conn),
		kringv1.NewCoordinatorsServiceClient(conn)}, nil
}

func (c *connections) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	clear(c.conns)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("coordinator: connections: %w", err)
	}
	return nil
}

// onLeader serves a call here if this coordinator leads, and else hands it to the one that does.
func onLeader[Request, Response any](
	ctx context.Context, c *Coordinator, method string, req Request,
	here func(context.Context, Request) (Response, error),
	there func(peer, context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	var none Response
	if c.consensus.leading() {
		return here(ctx, req)
	}
	if forwarded(ctx) {
		return none, kverr.Retry(kverr.NotLeader, retryNoLeader,
			fmt.Sprintf("coordinator %s does not lead any more: ask again", c.cfg.ID))
	}
	client, err := c.leaderClient()
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	resp, err := there(client, metadata.AppendToOutgoingContext(ctx, forwardedKey, c.cfg.ID), req)
	err = kverr.FromGRPC(err)
	c.metrics.forwarded.WithLabelValues(method, codeLabel(err)).Inc()
	if err != nil {
		return none, err
	}
	return resp, nil
}

// forwarded reports whether another coordinator has handed the call on.
func forwarded(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, forwardedKey)) > 0
}

func (c *Coordinator) leaderClient() (peer, error) {
	leader := c.consensus.leader()
	if leader == "" || leader == c.cfg.ID {
		return peer{}, kverr.Retry(kverr.NotLeader, retryNoLeader, "the coordinators have no leader: "+c.electionText())
	}
	m, ok := c.cfg.Gossip.Member(gossip.RoleCoordinator, leader)
	if !ok || m.GRPCAddress == "" {
		return peer{}, kverr.Retry(kverr.NotLeader, retryNoLeader,
			fmt.Sprintf("coordinator %s leads, and gossip does not know its address yet", leader))
	}
	return c.connections.client(m.GRPCAddress)
}
