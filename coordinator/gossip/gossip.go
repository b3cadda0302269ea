package gossip

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Gossip is this process's part in the gossip.
type Gossip struct {
	config Config
	logger *slog.Logger
	view   *view
	list   *memberlist.Memberlist
	bootID uint64
	// address is read once at New: what LocalNode points to is changed under the library's lock by every update.
	address string
	joined  atomic.Bool

	mu     sync.Mutex // orders changes of meta, and Leave with Close
	meta   *kringv1.GossipMeta
	closed bool

	seedsMu   sync.Mutex
	lastSeeds []string // the newest answer of Seeds that was not empty
}

// New binds the sockets and starts to gossip; nobody is called at before Run. Close it in the end.
func New(config Config) (*Gossip, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	var boot [8]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, fmt.Errorf("gossip: boot id: %w", err)
	}
	meta := &kringv1.GossipMeta{
		Id: config.ID, Role: kringv1.GossipRole(config.Role),
		BootId: binary.BigEndian.Uint64(boot[:]), BootCount: config.Boot, StartedUnixMillis: time.Now().UnixMilli(),
		GrpcAddress: config.GRPCAddress, RaftAddress: config.RaftAddress,
	}
	// Checked at its largest, so that no later change can pass the bound.
	largest := proto.CloneOf(meta)
	largest.Disk, largest.FreshSeen, largest.Leaving = kringv1.GossipDisk_GOSSIP_DISK_CATCHING_UP, ^uint64(0), true
	if _, err := encodeMeta(largest); err != nil {
		return nil, err
	}
	encoded, err := encodeMeta(meta)
	if err != nil {
		return nil, err
	}
	g := &Gossip{config: config, logger: config.Logger, view: newView(config.Logger, encoded), meta: meta,
		bootID: meta.GetBootId()}
	mc := config.memberlistConfig(memberName(config.Role, meta.Id, meta.BootId), config.Logger)
	mc.Delegate, mc.Events = g.view, g.view
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("gossip: listen at %s: %w", config.BindAddr, err)
	}
	self, ok := g.Member(config.Role, config.ID)
	if !ok {
		return nil, errors.Join(errors.New("gossip: the library did not tell of this process itself"), g.Close())
	}
	g.address = self.Address
	return g, nil
}

// ClusterName is the label.
func (g *Gossip) ClusterName() string { return g.config.ClusterName }

// ID is this process's id, which another of another role may share.
func (g *Gossip) ID() string { return g.config.ID }

// BootID is this process's random boot id.
func (g *Gossip) BootID() uint64 { return g.bootID }

// Addr is where others reach this process's gossip, "IP:PORT".
func (g *Gossip) Addr() string { return g.address }

// Members lists every process known, this one included, once for a role and id, sorted by id; the dead stay listed until their number passes a
// bound.
func (g *Gossip) Members() []Member { return g.view.members() }

// Member returns the member of that role and id.
func (g *Gossip) Member(role Role, id string) (Member, bool) {
	for _, m := range g.Members() {
		if m.Role == role && m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Subscribe tells of every change of Members from now on. Close the subscription.
func (g *Gossip) Subscribe() *Subscription { return g.view.subscribe() }

// Joined reports whether this process has reached another one, or has none to reach: Join names only itself, or nobody.
func (g *Gossip) Joined() bool { return g.joined.Load() || len(g.otherJoins()) == 0 }

// Seeds lists the gRPC addresses of the coordinators: those alive, then those known and silent, since gossip may be wrong.
// With no coordinator known at all it gives the last answer that had any.
func (g *Gossip) Seeds() []string {
	var alive, silent []string
	for _, m := range g.Members() {
		switch {
		case m.Role != RoleCoordinator || m.GRPCAddress == "":
		case m.Alive && !m.Leaving:
			alive = append(alive, m.GRPCAddress)
		default:
			silent = append(silent, m.GRPCAddress)
		}
	}
	seeds := append(alive, silent...)
	g.seedsMu.Lock()
	defer g.seedsMu.Unlock()
	if len(seeds) == 0 {
		return append([]string(nil), g.lastSeeds...)
	}
	g.lastSeeds = append(g.lastSeeds[:0], seeds...)
	return seeds
}

// SetDisk tells the others what a coordinator found on its disk.
func (g *Gossip) SetDisk(d Disk) error {
	return g.update(func(m *kringv1.GossipMeta) { m.Disk = kringv1.GossipDisk(d) })
}

// SetFreshSeen tells the others which fresh coordinators this one sees.
func (g *Gossip) SetFreshSeen(digest uint64) error {
	return g.update(func(m *kringv1.GossipMeta) { m.FreshSeen = digest })
}

// SetBoot tells the others the boot count of a node's data directory, where it was not known at New.
func (g *Gossip) SetBoot(boot uint64) error {
	return g.update(func(m *kringv1.GossipMeta) { m.BootCount = boot })
}

// update changes the metadata, unless the gossip is closed, and hands it to the gossip, without waiting for it to go out: that happens in the background
// within gossipInterval or so.
func (g *Gossip) update(change func(*kringv1.GossipMeta)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil // nobody is told anything any more
	}
	next := proto.CloneOf(g.meta)
	change(next)
	if proto.Equal(next, g.meta) {
		return nil
	}
	encoded, err := encodeMeta(next)
	if err != nil {
		return err
	}
	g.meta = next
	g.view.setMeta(encoded)
	// The update is queued and our own view changed before UpdateNode begins to wait; how long it takes to go out says
	// nothing that the caller could act on.
	if err := g.list.UpdateNode(time.Nanosecond); err != nil {
		g.logger.Debug("gossip: update queued", "reason", err)
	}
	return nil
}

// Leave announces a clean stop, waits up to timeout for the news to go out, and closes. Others then see the member as
// gone at once, and as Leaving.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	next := proto.CloneOf(g.meta)
	next.Leaving = true
	encoded, err := encodeMeta(next)
	if err != nil {
		return errors.Join(err, g.closeLocked())
	}
	g.meta = next
	g.view.setMeta(encoded)
	err = g.list.UpdateNode(max(timeout/2, time.Nanosecond))
	if lerr := g.list.Leave(max(timeout/2, time.Nanosecond)); lerr != nil {
		err = errors.Join(err, lerr)
	}
	if err != nil {
		err = fmt.Errorf("gossip: leave: %w", err)
	}
	return errors.Join(err, g.closeLocked())
}

// Close stops without a word: others notice a death. It may be called more than once, and after Leave.
func (g *Gossip) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closeLocked()
}

func (g *Gossip) closeLocked() error {
	if g.closed {
		return nil
	}
	g.closed = true
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("gossip: close: %w", err)
	}
	return nil
}

// otherJoins are the addresses of Join that are not this process's own.
func (g *Gossip) otherJoins() []string {
	self := g.Addr()
	var out []string
	for _, a := range g.config.Join {
		if a != self && a != g.config.BindAddr && a != g.config.AdvertiseAddr {
			out = append(out, a)
		}
	}
	return out
}

// Run calls at the addresses of Join until one answers, and from then on at those that no live member has, so that a
// cluster that was cut in two grows together again. It returns nil when ctx ends; it does not close the Gossip.
func (g *Gossip) Run(ctx context.Context) error {
	backoff := joinBackoffFirst
	for {
		wait := rejoinEvery
		if !g.callMissing(ctx) {
			wait = backoff
			backoff = min(2*backoff, joinBackoffLast)
		} else {
			backoff = joinBackoffFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// callMissing joins at configured addresses without a live member, and reports whether any other process is known alive.
func (g *Gossip) callMissing(ctx context.Context) bool {
	missing := g.otherJoins()
	if len(missing) == 0 {
		return true
	}
	for _, address := range missing {
		if ctx.Err() != nil {
			return true
		}
		ip, err := resolve(ctx, address)
		if err != nil {
			g.logger.Info("gossip: join address not resolved", "address", address, "error", err)
			continue
		}
		if ip == g.Addr() || g.aliveAt(ip) {
			continue
		}
		g.join(ip)
	}
	return g.othersAlive()
}

func (g *Gossip) join(address string) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return
	}
	if _, err := g.list.Join([]string{address}); err != nil {
		g.logger.Debug("gossip: no answer", "address", address, "error", err)
		return
	}
	if !g.joined.Swap(true) {
		g.logger.Info("gossip: joined", "through", address)
	}
}

func (g *Gossip) aliveAt(address string) bool {
	for _, m := range g.Members() {
		if m.Alive && m.Address == address {
			return true
		}
	}
	return false
}

func (g *Gossip) othersAlive() bool {
	for _, m := range g.Members() {
		if m.Alive && (m.ID != g.config.ID || m.Role != g.config.Role) {
			g.joined.Store(true)
			return true
		}
	}
	return false
}

// resolve turns a host name into one of its IPs here, because memberlist would ask the name server by its own rules.
func resolve(ctx context.Context, address string) (string, error) {
	if a, err := netip.ParseAddrPort(address); err == nil {
		return a.String(), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ips[0].Unmap().String(), port), nil
}
