package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Role is what a process is.
type Role uint8

// The roles.
const (
	RoleCoordinator Role = 1
	RoleNode        Role = 2
	RoleGateway     Role = 3
)

func (r Role) String() string {
	switch r {
	case RoleCoordinator:
		return "coordinator"
	case RoleNode:
		return "node"
	case RoleGateway:
		return "gateway"
	}
	return "unknown"
}

// Disk says what a coordinator found in its data directory.
type Disk uint8

// The states of a coordinator's disk.
const (
	DiskUnknown    Disk = Disk(kringv1.GossipDisk_GOSSIP_DISK_UNSPECIFIED) // not opened yet
	DiskFresh      Disk = Disk(kringv1.GossipDisk_GOSSIP_DISK_FRESH)       // nothing was ever decided on it
	DiskUsed       Disk = Disk(kringv1.GossipDisk_GOSSIP_DISK_USED)        // it takes part in a cluster
	DiskCatchingUp Disk = Disk(kringv1.GossipDisk_GOSSIP_DISK_CATCHING_UP) // it takes part, and does not hold all that was decided
)

// Bounds.
const (
	maxNameBytes = 128 // of an id or a cluster's name
)

// What was measured to notice one death of five in 1.2 s, forgiving pauses of 1 s. Several deaths at once take far
// longer: heartbeats decide there.
const (
	probeInterval      = 200 * time.Millisecond
	probeTimeout       = 100 * time.Millisecond
	gossipInterval     = 50 * time.Millisecond
	suspicionMult      = 4
	suspicionMaxMult   = 3
	streamTimeout      = 2 * time.Second // of one state exchange over TCP
	rejoinEvery        = 5 * time.Second // calls at configured addresses that no live member has
	joinBackoffFirst   = 100 * time.Millisecond
	joinBackoffLast    = 2 * time.Second
	maxRememberedDead  = 1024 // ids
	broadcastQueueTick = time.Second
)

// Config of a Gossip.
type Config struct {
	ClusterName   string   // label on every packet: clusters of other names are not seen; 1 to 128 bytes
	ID            string   // of this process among those of its role, "c1"; 1 to 128 bytes, no '/'
	Role          Role     // required
	Boot          uint64   // boot count of the data directory, for people; 0: none
	BindAddr      string   // "IP:PORT", UDP and TCP; port 0 picks one
	AdvertiseAddr string   // "IP:PORT" at which others reach BindAddr; empty: BindAddr
	GRPCAddress   string   // "IP:PORT" of this process's gRPC service; coordinators must set it: others find them by it
	RaftAddress   string   // "IP:PORT", coordinators
	Join          []string // "IP:PORT" or "HOST:PORT" of members to call at; this process's own address is skipped
	SecretKey     []byte   // 16, 24 or 32 bytes encrypt gossip (AES-GCM); empty: not encrypted
	Logger        *slog.Logger
}

// Validate says what is wrong and what to write instead.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gossip: "+format, args...)) }
	if len(c.ClusterName) == 0 || len(c.ClusterName) > maxNameBytes {
		bad("the cluster's name has %d bytes: write 1 to %d", len(c.ClusterName), maxNameBytes)
	}
	if err := validID(c.ID); err != nil {
		bad("%w", err)
	}
	if c.Role < RoleCoordinator || c.Role > RoleGateway {
		bad("role %d is none: write coordinator, node or gateway", c.Role)
	}
	bind, err := parseIPPort("bind address", c.BindAddr, true)
	if err != nil {
		bad("%w", err)
	}
	switch {
	case c.AdvertiseAddr != "":
		if _, err := parseIPPort("advertise address", c.AdvertiseAddr, true); err != nil {
			bad("%w", err)
		}
	case err == nil && bind.Addr().IsUnspecified():
		bad("bind address %s names every interface: write the address others reach it at as the advertise address", bind)
	}
	if c.Role == RoleCoordinator && (c.GRPCAddress == "" || c.RaftAddress == "") {
		bad("a coordinator tells its gRPC and raft addresses to others: set both")
	}
	for _, a := range c.Join {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			bad("join address %q: write IP:PORT or HOST:PORT", a)
		}
	}
	switch len(c.SecretKey) {
	case 0, 16, 24, 32:
	default:
		bad("the secret key has %d bytes: write 16, 24 or 32, or none", len(c.SecretKey))
	}
	return errors.Join(errs...)
}

func validID(id string) error {
	if len(id) == 0 || len(id) > maxNameBytes {
		return fmt.Errorf("id %q has %d bytes: write 1 to %d", id, len(id), maxNameBytes)
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c == '/' || c == 0x7f {
			return fmt.Errorf("id %q: leave out spaces, control characters and '/'", id)
		}
	}
	return nil
}

// parseIPPort takes IPs only: memberlist binds every interface for anything else.
func parseIPPort(what, s string, zeroPort bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("%s %q: write IP:PORT, such as 127.0.0.1:7946 (a host name will not do)", what, s)
	}
	if a.Port() == 0 && !zeroPort {
		return a, fmt.Errorf("%s %q: the port must not be 0", what, s)
	}
	return a, nil
}

// memberlistConfig is everything but the delegates. The configuration must be valid.
func (c *Config) memberlistConfig(name string, logger *slog.Logger) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name = name
	m.Label = c.ClusterName
	m.SecretKey = c.SecretKey
	bind := netip.MustParseAddrPort(c.BindAddr)
	m.BindAddr, m.BindPort = bind.Addr().String(), int(bind.Port())
	// Both parts are set even where they equal what was bound: the library otherwise guesses a private address.
	m.AdvertiseAddr, m.AdvertisePort = m.BindAddr, m.BindPort
	if c.AdvertiseAddr != "" {
		host, port, _ := net.SplitHostPort(c.AdvertiseAddr)
		m.AdvertiseAddr = host
		m.AdvertisePort, _ = strconv.Atoi(port)
	}
	m.ProbeInterval = probeInterval
	m.ProbeTimeout = probeTimeout
	m.GossipInterval = gossipInterval
	m.SuspicionMult = suspicionMult
	m.SuspicionMaxTimeoutMult = suspicionMaxMult
	m.TCPTimeout = streamTimeout
	m.QueueCheckInterval = broadcastQueueTick
	m.LogOutput = libraryLog{logger}
	return m
}
