package codec

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// TestOptionsFitTogether makes a call whose message is above gRPC's own limit, over a real socket.
func TestOptionsFitTogether(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(ServerOptions()...)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		require.NoError(t, <-served)
	}()

	opts := append(DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(l.Addr().String(), opts...)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	client := grpc_health_v1.NewHealthClient(conn)
	resp, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, resp.GetStatus())
	_, err = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: string(make([]byte, MaxMessageBytes-100))})
	require.ErrorContains(t, err, "unknown service", "the server has read it")
	_, err = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: string(make([]byte, MaxMessageBytes+1))})
	require.ErrorContains(t, err, "larger than max")
}
