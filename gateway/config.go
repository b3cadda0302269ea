package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// Limits that no setting moves.
const (
	MaxKeyBytes       = ring.MaxKeyBytes // of a decoded key
	MaxAttributeBytes = 8 << 10          // Content-Type, Content-Encoding and Kring-Meta-* of one value, names and values
	largestValueBytes = 16 << 20         // bound of Config.MaxValueBytes
)

// KV is what the gateway needs of a client to serve keys. *client.Client is one. Errors are *kverr.Error. Keys and
// values that are handed in are not kept after the call.
type KV interface {
	Get(ctx context.Context, key []byte, options ...client.Option) (client.Value, error)
	Head(ctx context.Context, key []byte, options ...client.Option) (client.Value, error)
	Put(ctx context.Context, key, value []byte, options ...client.Option) (client.Result, error)
	Delete(ctx context.Context, key []byte, options ...client.Option) (client.Result, error)
	Incr(ctx context.Context, key []byte, delta int64, options ...client.Option) (int64, client.Result, error)
}

// Cluster is what the gateway needs of a client to describe the cluster. *client.Client is one.
type Cluster interface {
	// Table is the newest table held; nil before the first.
	Table() *ring.Table
	// CoordinatorsTable is the newest table from the coordinators, the same for everybody of one version; Table may be ahead
	// of it in single partitions. nil before the first.
	CoordinatorsTable() *ring.Table
	Locate(key []byte) client.Location
	// Cluster asks a coordinator.
	Cluster(ctx context.Context) (*kringv1.GetClusterResponse, error)
	// CountCopies has nodes count on disk: one entry a member of the table, those that do not answer with an error.
	CountCopies(ctx context.Context, partitions ...ring.PartitionID) []client.NodeCopies
	// RecoverPartitions has a coordinator make old copies the whole of partitions that have lost every in-sync one.
	RecoverPartitions(ctx context.Context, req *kringv1.RecoverPartitionsRequest) (*kringv1.RecoverPartitionsResponse, error)
	Stats() client.Stats
}

// Backend is both; *client.Client is one.
type Backend interface {
	KV
	Cluster
}

// Heartbeat sends one heartbeat to whichever coordinator answers.
type Heartbeat func(ctx context.Context, request *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error)

// Config says what to serve and how much of it. DefaultConfig fills in everything but ID, Listener and Client.
type Config struct {
	ID       string       // names this gateway for people: "g1"
	Listener net.Listener // HTTP, already bound; closed by Run. A TLS listener is fine
	// AdvertiseAddress is where others reach the listener, "IP:PORT"; empty: the listener's own address.
	AdvertiseAddress string
	Client           Backend
	Heartbeat        Heartbeat // nil: none are sent
	HeartbeatEvery   time.Duration
	Control          Control // nil: operations and events are refused

	MaxValueBytes   int64         // of a PUT body; at most 16 MiB
	DefaultTimeout  time.Duration // of a request that names none; 0: the client's own (client.Config.Timeout), which is cheaper
	MaxTimeout      time.Duration // what Request-Timeout and timeout= are clipped to
	MaxInFlight     int           // requests under /v1 at a time; past it 503
	MaxBodyBytes    int64         // PUT bodies held at a time, over all requests; past it 503
	MaxAnswerBytes  int64         // values being sent at a time, over all requests; past it 503
	MaxConnections  int           // open at a time; past it connections wait to be accepted
	MaxEventStreams int           // streams of events at a time; past it 503
	MaxHeaderBytes  int           // request line and header; a 4 KiB key takes 12 KiB fully escaped
	HeaderTimeout   time.Duration // to send the request line and header
	IdleTimeout     time.Duration // between requests of one connection
	BodyGrace       time.Duration // a body may take this long …
	BodyBytesPerSec int64         // … plus its size at this rate; slower is 408. Answers must be taken at this rate too
	StopTimeout     time.Duration // how long Run waits for requests in flight once its context ends

	// AllowedHosts are the names a Host header may carry besides IP addresses and, on a loopback listener, localhost:
	// "kv.example.org" (any port) or "kv.example.org:8080"; "*" takes every name. The check stops a hostile page from
	// reaching the gateway under a name of its own (DNS rebinding).
	AllowedHosts []string

	Version  string // of the binary, shown at /
	Logger   *slog.Logger
	Registry *prometheus.Registry // nil: one of its own
}

// DefaultConfig has every limit set.
func DefaultConfig() Config {
	return Config{
		HeartbeatEvery:  200 * time.Millisecond,
		MaxValueBytes:   1 << 20,
		MaxTimeout:      time.Minute,
		MaxInFlight:     8192,
		MaxBodyBytes:    256 << 20,
		MaxAnswerBytes:  256 << 20,
		MaxConnections:  16384,
		MaxEventStreams: 256,
		MaxHeaderBytes:  32 << 10,
		HeaderTimeout:   10 * time.Second,
		IdleTimeout:     2 * time.Minute,
		BodyGrace:       5 * time.Second,
		BodyBytesPerSec: 64 << 10,
		StopTimeout:     1500 * time.Millisecond,
		Version:         "development",
	}
}

// Validate says what is wrong and what to write instead.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("gateway: "+format, args...))
		}
	}
	check(c.ID != "", "ID is empty: give the gateway a name, such as g1")
	check(c.Listener != nil, "Listener is nil: bind one first")
	check(c.Client != nil, "Client is nil: open one first")
	check(c.MaxValueBytes > 0 && c.MaxValueBytes <= largestValueBytes,
		"MaxValueBytes is %d: set 1 to %d", c.MaxValueBytes, largestValueBytes)
	check(c.DefaultTimeout >= 0 && c.DefaultTimeout <= c.MaxTimeout,
		"DefaultTimeout is %v: set 0 to MaxTimeout (%v)", c.DefaultTimeout, c.MaxTimeout)
	check(c.MaxTimeout > 0, "MaxTimeout is %v: set a minute", c.MaxTimeout)
	check(c.MaxInFlight > 0, "MaxInFlight is %d: set at least 1", c.MaxInFlight)
	check(c.MaxBodyBytes >= c.MaxValueBytes,
		"MaxBodyBytes is %d: set at least MaxValueBytes (%d)", c.MaxBodyBytes, c.MaxValueBytes)
	check(c.MaxAnswerBytes > 0, "MaxAnswerBytes is %d: set 256 MiB (%d)", c.MaxAnswerBytes, 256<<20)
	check(c.MaxConnections > 0, "MaxConnections is %d: set at least 1", c.MaxConnections)
	check(c.MaxEventStreams > 0, "MaxEventStreams is %d: set at least 1", c.MaxEventStreams)
	check(c.MaxHeaderBytes >= 16<<10, "MaxHeaderBytes is %d: set at least %d, or long keys do not fit", c.MaxHeaderBytes, 16<<10)
	check(c.HeaderTimeout > 0, "HeaderTimeout is %v: set some seconds", c.HeaderTimeout)
	check(c.IdleTimeout > 0, "IdleTimeout is %v: set some minutes", c.IdleTimeout)
	check(c.BodyGrace > 0, "BodyGrace is %v: set some seconds", c.BodyGrace)
	check(c.BodyBytesPerSec > 0, "BodyBytesPerSec is %d: set 65536", c.BodyBytesPerSec)
	check(c.StopTimeout >= 0, "StopTimeout is %v: set 0 or more", c.StopTimeout)
	check(c.Heartbeat == nil || c.HeartbeatEvery > 0, "HeartbeatEvery is %v: set 200ms", c.HeartbeatEvery)
	return errors.Join(errs...)
}
