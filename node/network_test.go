package node

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// network is what a test cluster's members talk through.
type network interface {
	listen(t testing.TB, host string) net.Listener
	dialOptions(host string) []grpc.DialOption // for connections from host
}

// loopback is the machine's own.
type loopback struct{}

func (loopback) listen(t testing.TB, _ string) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func (loopback) dialOptions(string) []grpc.DialOption { return nil }

// clientHost is where clients run.
const clientHost = "client"
