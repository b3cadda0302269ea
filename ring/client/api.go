// Package client is Kring's Go client. It keeps the ring's table, follows its changes, and sends each request straight to
// the partition's primary over one batch stream a node; the coordinators are asked only for the table.
package client

import (
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/ring"
)

// Config says how to reach a cluster. The zero value of every field but Seeds is usable.
type Config struct {
	// Seeds are coordinators' gRPC addresses, "IP:PORT"; asked anew whenever the client must find another coordinator,
	// so that a caller with gossip can give what it sees now. Required.
	Seeds func() []string
	// ClusterID refuses any other cluster; empty takes the first one met.
	ClusterID string
	// DialOptions are added to every connection: transport credentials above all. Empty: plain text.
	DialOptions []grpc.DialOption
	Logger      *slog.Logger // nil: slog.Default
	// MaxInFlight bounds the requests waiting for one node, MaxInFlightBytes their keys and values. Past either, calls
	// fail with kverr.Busy at once. Defaults 16384 and 64 MiB.
	MaxInFlight      int
	MaxInFlightBytes int
	// MaxWaiting bounds the requests that are being tried again after a node refused them or was away; half of it those for
	// one node. Past it a refused call fails at once, with what the node said and RetryAfter, so that a node that is gone
	// does not take up all of the caller's own places. Default 2048.
	MaxWaiting int
	// Timeout is for calls whose context has no deadline. Default 5 s.
	Timeout time.Duration
	// LargeValue is the size from which a value travels on a stream of its own. Default 64 KiB.
	LargeValue int
}

// StaticSeeds is a Config.Seeds for addresses that do not change.
func StaticSeeds(addresses ...string) func() []string {
	return func() []string { return addresses }
}

// Attributes are kept with a value and given back with it.
type Attributes struct {
	ContentType     string
	ContentEncoding string
	Metadata        map[string]string // names in lower case
	Expires         time.Time         // zero: never
}

// Result says where an answer came from, and of which version.
type Result struct {
	Version   uint64 // of the key; for Delete the version of the deletion, 0 if nothing was logged
	Existed   bool   // mutations with WantExisted: the key existed before
	Partition ring.PartitionID
	Epoch     ring.Epoch
	Node      ring.NodeID // who served it
	Attempts  int
	Replayed  bool // mutations with IdempotencyKey: this is the answer to an earlier one
}

// Value is what Get and Head give.
type Value struct {
	Result
	Value      []byte // nil for Head
	Size       uint64 // length of the value
	Attributes Attributes
	TTL        time.Duration // what was left of its life when the primary answered; 0: it does not expire
}

// Condition must hold for a mutation to happen; the zero value always does. With several parts set, all must hold.
type Condition struct {
	IfVersions    []uint64 // the key exists at one of these versions
	IfExists      bool
	IfAbsent      bool
	IfNotVersions []uint64 // the key is absent, or at none of these
}

// Option changes one call.
type Option func(*options)

type options struct {
	condition       Condition
	attributes      Attributes
	wantExisted     bool
	unary           bool
	ttl             time.Duration
	idempotencyKey  string
	idempotencyHash []byte
}

// If makes a mutation conditional. A failed condition is kverr.PreconditionFailed with the current version.
func If(c Condition) Option { return func(o *options) { o.condition = c } }

// IfVersion makes a mutation conditional on the key's version; 0 means that it is absent.
func IfVersion(v uint64) Option {
	if v == 0 {
		return If(Condition{IfAbsent: true})
	}
	return If(Condition{IfVersions: []uint64{v}})
}

// WithAttributes keeps a with the value.
func WithAttributes(a Attributes) Option { return func(o *options) { o.attributes = a } }

// TTL has a value that is Put expire so long after the primary's clock has taken it, to the millisecond, rounded up; then the key is
// absent. It wins over Attributes.Expires. It must not be negative; 0 asks for nothing.
func TTL(d time.Duration) Option { return func(o *options) { o.ttl = d } }

// IdempotencyKey makes a mutation happen once for all calls with this key, for the ten minutes that the cluster remembers it: a later
// one gets the first one's answer again, with Result.Replayed. It is for callers that send a request again after they have
// lost track of it, themselves or their own callers; within one call that is taken care of without. Idempotency keys count for one
// key of the store each: the same one with another key is another. Only what was carried out is remembered: a call that was refused
// is judged anew.
//
// key has 1 to 255 bytes. hash, 8 to 32 bytes, stands for all that is asked for: a call with the same key and another hash is
// kverr.IdempotencyMismatch, and kverr.Conflict while the first has not ended.
func IdempotencyKey(key string, hash []byte) Option {
	return func(o *options) { o.idempotencyKey, o.idempotencyHash = key, hash }
}

// WantExisted asks for Result.Existed, which costs the node a read.
func WantExisted() Option { return func(o *options) { o.wantExisted = true } }

// Unary sends the request in a gRPC call of its own instead of the batch stream: for measuring what batching gains.
func Unary() Option { return func(o *options) { o.unary = true } }

// Location is where a key lives, by the table the client holds.
type Location = ring.Location

// Stats count since Open; for metrics.
type Stats struct {
	Requests       uint64 // finished calls of Get, Head, Put, Delete, Incr
	Attempts       uint64 // sent to nodes
	Withdrawn      uint64 // of Attempts: given up because the table named another primary meanwhile
	MasterRequests uint64 // requests that had to wait for a coordinator before they could be answered
	TableVersion   uint64
	TableUpdates   uint64
	WatchConnected bool
	InFlight       int
	Waiting        int    // of InFlight: being tried again, at most Config.MaxWaiting
	WaitRefused    uint64 // calls that failed at once because so many were waiting
	Frames         uint64 // batch frames sent
}
