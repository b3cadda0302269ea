package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// Pauses after every seed has failed once, and how long one coordinator may take over one call.
const (
	seedsBackoffBase    = 20 * time.Millisecond
	seedsBackoffMax     = time.Second
	coordinatorTry      = 2 * time.Second
	coordinatorTryLeast = 20 * time.Millisecond
	// leaderAgain is how long a leader that did not answer here is left to those that reach it: to try it first with every heartbeat
	// would make each of them late.
	leaderAgain = 10 * time.Second
)

// CoordinatorsConfig says how to reach the coordinators.
type CoordinatorsConfig struct {
	Seeds       func() []string   // gRPC addresses, asked anew before every round. Required
	DialOptions []grpc.DialOption // added to every connection; empty: plain text
	Logger      *slog.Logger      // nil: slog.Default
}

// Coordinators calls any coordinator that answers: the one that answered last, and when it fails or takes more than its share
// of the time left the next seed. Safe for
// concurrent use. Its connections open at the first call and are shared by all calls.
type Coordinators struct {
	cfg CoordinatorsConfig

	mu        sync.Mutex
	conns     map[string]*seedConn
	preferred string    // asked first: it answered last, or leads, or the one before it failed
	unreached string    // gave no answer until a moment ago
	again     time.Time // when unreached may be preferred for leading
	closed    bool
	named     uint64         // the newest version of the table that an answer named
	watchers  []func(uint64) // told of it
}

// api is everything that a coordinator answers.
type api struct {
	kringv1.CoordinatorServiceClient
	kringv1.OperationsServiceClient
}

func newAPI(conn *grpc.ClientConn) api {
	return api{kringv1.NewCoordinatorServiceClient(conn), kringv1.NewOperationsServiceClient(conn)}
}

// seedConn is one connection and how many calls use it now. It is closed once it is no seed's any more and idle.
type seedConn struct {
	conn *grpc.ClientConn
	uses int
}

// NewCoordinators makes a caller. It opens nothing yet.
func NewCoordinators(cfg CoordinatorsConfig) (*Coordinators, error) {
	if cfg.Seeds == nil {
		return nil, errors.New("client: Seeds is missing: give a function that returns the coordinators' gRPC addresses, " +
			"such as client.StaticSeeds(\"10.0.0.1:7100\")")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Coordinators{cfg: cfg, conns: map[string]*seedConn{}}, nil
}

// Register announces a node's start; see CoordinatorService. WrongCluster and WrongStore are final and returned at once. It
// goes on trying until ctx ends.
func (c *Coordinators) Register(ctx context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	resp, err := failover(ctx, c, api.Register, req, nil)
	c.name(resp.GetTableVersion())
	return resp, err
}

// Heartbeat reports to the leader: through any coordinator at first, and from then on at the address that the answer names, if that is
// a seed's. ctx should end before the next heartbeat is due.
func (c *Coordinators) Heartbeat(ctx context.Context, req *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
	resp, err := failover(ctx, c, api.Heartbeat, req, nil)
	c.preferLeader(resp.GetLeaderAddress())
	c.name(resp.GetTableVersion())
	return resp, err
}

// ChangePartition asks for a new configuration. It may be repeated after an answer was lost: the epoch is then higher than
// expected and the error is StaleEpoch or Conflict although the change was decided, so the table has the last word.
func (c *Coordinators) ChangePartition(
	ctx context.Context, req *kringv1.ChangePartitionRequest,
) (*kringv1.ChangePartitionResponse, error) {
	resp, err := failover(ctx, c, api.ChangePartition, req, nil)
	c.name(resp.GetTableVersion())
	return resp, err
}

// ChangePartitions asks for many new configurations at once; each has a result of its own, for which the same holds as for
// ChangePartition. The error is that of the call: it says nothing of what was decided.
func (c *Coordinators) ChangePartitions(
	ctx context.Context, req *kringv1.ChangePartitionsRequest,
) (*kringv1.ChangePartitionsResponse, error) {
	resp, err := failover(ctx, c, api.ChangePartitions, req, nil)
	c.name(resp.GetTableVersion())
	return resp, err
}

// RecoverPartitions makes old copies the whole of partitions that have lost every in-sync one; see CoordinatorService. As with
// ChangePartitions, after a lost answer the table has the last word.
func (c *Coordinators) RecoverPartitions(
	ctx context.Context, req *kringv1.RecoverPartitionsRequest,
) (*kringv1.RecoverPartitionsResponse, error) {
	resp, err := failover(ctx, c, api.RecoverPartitions, req, nil)
	c.name(resp.GetTableVersion())
	return resp, err
}

// Locate asks where a key or a partition is.
func (c *Coordinators) Locate(ctx context.Context, req *kringv1.LocateRequest) (*kringv1.LocateResponse, error) {
	resp, err := failover(ctx, c, api.Locate, req, nil)
	c.name(resp.GetTableVersion())
	return resp, err
}

// GetCluster is health and load as the leader sees them. If no coordinator reaches a leader, it is what one of them knows: no
// coordinator is then marked as leader, and WaitingFor says why.
func (c *Coordinators) GetCluster(ctx context.Context) (*kringv1.GetClusterResponse, error) {
	var resort *kringv1.GetClusterResponse // of those without a leader the one that knows most
	ask := func(
		cc api, ctx context.Context, req *kringv1.GetClusterRequest, opts ...grpc.CallOption,
	) (*kringv1.GetClusterResponse, error) {
		resp, err := cc.GetCluster(ctx, req, opts...)
		if err != nil || slices.ContainsFunc(resp.GetCoordinators(), (*kringv1.CoordinatorInfo).GetLeader) {
			return resp, err
		}
		if resort == nil || resp.GetTableVersion() > resort.GetTableVersion() {
			resort = resp
		}
		return nil, kverr.Newf(kverr.NotLeader, "it reaches no leader: it waits for %s", resp.GetWaitingFor())
	}
	lastResort := func() (*kringv1.GetClusterResponse, bool) { return resort, resort != nil }
	return failover(ctx, c, ask, &kringv1.GetClusterRequest{}, lastResort)
}

// tell has f called with every version of the table that an answer names, the newest one so far at once.
func (c *Coordinators) tell(f func(version uint64)) {
	c.mu.Lock()
	c.watchers = append(c.watchers, f)
	named := c.named
	c.mu.Unlock()
	f(named)
}

// name notes a version of the table that an answer named; 0 is none.
func (c *Coordinators) name(version uint64) {
	c.mu.Lock()
	c.named = max(c.named, version)
	watchers := c.watchers
	c.mu.Unlock()
	for _, f := range watchers {
		f(version)
	}
}

// Close closes all connections; calls under way end with an error. Later calls fail.
func (c *Coordinators) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for address, s := range c.conns {
		errs = append(errs, s.conn.Close())
		delete(c.conns, address)
	}
	return errors.Join(errs...)
}

// failover makes one call at one coordinator after the other until one answers with success or a final error, or ctx ends. If
// lastResort is not nil and has something after all were asked once, that is the answer.
func failover[Request, Response any](
	ctx context.Context, c *Coordinators,
	call func(api, context.Context, Request, ...grpc.CallOption) (Response, error),
	req Request, lastResort func() (Response, bool),
) (Response, error) {
	var none Response
	b := backoff{base: seedsBackoffBase, max: seedsBackoffMax}
	for {
		err := error(kverr.New(kverr.Unavailable, "no coordinator is known: the list of seeds is empty"))
		seeds := c.order()
		for i, address := range seeds {
			var resp Response
			if resp, err = try(ctx, c, address, tryFor(ctx, len(seeds)-i), call, req); err == nil {
				c.prefer(address)
				return resp, nil
			}
			if !elsewhere(err) || errors.Is(err, errClosed) {
				return none, err
			}
			// Also for the next call: one that hangs would use up every short deadline.
			c.prefer(seeds[(i+1)%len(seeds)])
			c.noteFailure(address, err)
			if ctx.Err() != nil {
				break
			}
		}
		if lastResort != nil {
			if resp, ok := lastResort(); ok {
				return resp, nil
			}
		}
		if !pause(ctx, b.next()) {
			return none, kverr.Newf(kverr.CodeOf(ctx.Err()), "no coordinator answered in time; the last failure: %v", err)
		}
	}
}

// tryFor is how long one coordinator may take when so many are left to be asked before ctx ends.
func tryFor(ctx context.Context, left int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return coordinatorTry
	}
	share := time.Until(deadline) / time.Duration(left)
	return min(max(share, coordinatorTryLeast), coordinatorTry)
}

// try makes one call at one coordinator. One that hangs is given up early enough for another to be asked.
func try[Request, Response any](
	ctx context.Context, c *Coordinators, address string, limit time.Duration,
	call func(api, context.Context, Request, ...grpc.CallOption) (Response, error),
	req Request,
) (Response, error) {
	var none Response
	conn, release, err := c.acquire(address)
	if err != nil {
		return none, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := call(newAPI(conn), ctx, req)
	if err != nil {
		e := *kverr.As(kverr.FromGRPC(err))
		if !aboutRequest(e.Code) {
			e.Message = fmt.Sprintf("coordinator %s: %s", address, e.Message)
		}
		return none, &e
	}
	return resp, nil
}

// aboutRequest reports whether an error is about what was asked for, whichever coordinator says it.
func aboutRequest(code kverr.Code) bool {
	switch code {
	case kverr.BadRequest, kverr.NotFound, kverr.Conflict, kverr.IdempotencyMismatch:
		return true
	}
	return false
}

// elsewhere reports whether another coordinator, or the same one later, may answer.
func elsewhere(err error) bool {
	switch kverr.CodeOf(err) {
	case kverr.NotLeader, kverr.Unavailable, kverr.Busy, kverr.Deadline, kverr.Canceled:
		return true
	}
	return false
}

// order is the seeds as of now, the one that answered last first. Connections to former seeds are closed.
func (c *Coordinators) order() []string {
	seeds := slices.Clone(c.cfg.Seeds())
	c.mu.Lock()
	defer c.mu.Unlock()
	for address, s := range c.conns {
		if s.uses == 0 && !slices.Contains(seeds, address) {
			delete(c.conns, address)
			if err := s.conn.Close(); err != nil {
				c.cfg.Logger.Warn("closing a former coordinator's connection", "address", address, "error", err)
			}
		}
	}
	if i := slices.Index(seeds, c.preferred); i > 0 {
		seeds[0], seeds[i] = seeds[i], seeds[0]
	}
	return seeds
}

// acquire gives the connection to address, to be released after the call.
func (c *Coordinators) acquire(address string) (*grpc.ClientConn, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, errClosed
	}
	s := c.conns[address]
	if s == nil {
		conn, err := dial(address, c.cfg.DialOptions)
		if err != nil {
			return nil, nil, kverr.New(kverr.Unavailable, err.Error())
		}
		s = &seedConn{conn: conn}
		c.conns[address] = s
	}
	s.uses++
	return s.conn, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.uses--
	}, nil
}

func (c *Coordinators) prefer(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.preferred = address
}

// preferLeader has the leader asked first, unless it did not answer a moment ago; empty is not known.
func (c *Coordinators) preferLeader(address string) {
	c.mu.Lock()
	known := address == "" || address == c.preferred || address == c.unreached && time.Now().Before(c.again)
	c.mu.Unlock()
	if !known && slices.Contains(c.cfg.Seeds(), address) {
		c.prefer(address)
	}
}

// noteFailure remembers who gave no answer. Who says that it does not lead may do so the next moment.
func (c *Coordinators) noteFailure(address string, err error) {
	if kverr.CodeOf(err) == kverr.NotLeader {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unreached, c.again = address, time.Now().Add(leaderAgain)
}
