package client

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/proto/codec"
)

// dial makes a connection that opens at its first call. extra come last and so win.
func dial(address string, extra []grpc.DialOption) (*grpc.ClientConn, error) {
	opts := append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(address, slices.Concat(opts, extra)...)
	if err != nil {
		return nil, fmt.Errorf("connection to %q: %w", address, err)
	}
	return conn, nil
}
