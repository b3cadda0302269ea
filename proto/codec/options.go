package codec

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// What both ends of a connection agree on.
const (
	// MaxMessageBytes bounds a message in both directions: the largest value (16 MiB) with room for its key, attributes and
	// frame.
	MaxMessageBytes = 20 << 20

	// Windows hold one round trip's worth of frames: at 1 ms and 10 Gbit/s about 1.2 MiB. Set, so that gRPC's estimator,
	// which probes with pings, stays off.
	streamWindowBytes     = 2 << 20
	connectionWindowBytes = 8 << 20

	// Socket buffers: a frame of the usual size in one system call.
	socketBufferBytes = 64 << 10
)

// Keepalive: a silent connection is given up after keepaliveEvery + keepaliveTimeout. Failures are noticed by heartbeats and
// deadlines long before; this ends what would otherwise hang for ever. gRPC clients do not ping more often than every 10 s.
const (
	keepaliveEvery   = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	keepaliveLeast   = 5 * time.Second // a server takes more pings than one in this time for abuse
)

// Reconnecting: quick, since a restarted node is back within a second, and never further apart than reconnectMax.
const (
	reconnectBase  = 50 * time.Millisecond
	reconnectMax   = time.Second
	connectTimeout = 2 * time.Second
)

// ServerOptions are for every gRPC server of Kring. Options given after them win.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.StaticStreamWindowSize(streamWindowBytes),
		grpc.StaticConnWindowSize(connectionWindowBytes),
		grpc.WriteBufferSize(socketBufferBytes),
		grpc.ReadBufferSize(socketBufferBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveLeast, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout}),
	}
}

// DialOptions are for every gRPC connection of Kring; transport credentials are the caller's to add. Options given after
// them win. Addresses are dialled directly, whatever the environment says of proxies.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(Codec()),
			grpc.MaxCallRecvMsgSize(MaxMessageBytes),
			grpc.MaxCallSendMsgSize(MaxMessageBytes),
		),
		grpc.WithStaticStreamWindowSize(streamWindowBytes),
		grpc.WithStaticConnWindowSize(connectionWindowBytes),
		grpc.WithWriteBufferSize(socketBufferBytes),
		grpc.WithReadBufferSize(socketBufferBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveEvery, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectBase, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	}
}
