// Package masters calls the coordinators' own service: who they are, and their state as a file. It needs no gateway, so it works
// where nothing else does any more.
package masters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

const (
	tryTimeout = 20 * time.Second // of one call to one coordinator; a backup takes the longest
	pause      = 100 * time.Millisecond
)

// Client calls whichever of the coordinators answers.
type Client struct {
	addresses []string
	conns     []*grpc.ClientConn
}

// Open connects to nobody yet. Addresses are gRPC's, "IP:PORT".
func Open(addresses []string) (*Client, error) {
	if len(addresses) == 0 {
		return nil, errors.New("no coordinator's address: write the IP:PORT of --listen of one of them")
	}
	c := &Client{addresses: addresses}
	options := append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	for _, a := range addresses {
		_, _, err := net.SplitHostPort(a)
		if err == nil {
			var conn *grpc.ClientConn
			if conn, err = grpc.NewClient("passthrough:///"+a, options...); err == nil {
				c.conns = append(c.conns, conn)
				continue
			}
		}
		return nil, errors.Join(fmt.Errorf("coordinator's address %q: write IP:PORT: %w", a, err), c.Close())
	}
	return c, nil
}

// Close ends the connections.
func (c *Client) Close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Call asks one after the other, again and again, until one gives a final answer or ctx ends. The call must be one that may be
// repeated.
func Call[Request, Response any](
	ctx context.Context, c *Client, req Request,
	method func(kringv1.CoordinatorsServiceClient, context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	var none Response
	var last error
	for {
		for i, conn := range c.conns {
			try, cancel := context.WithTimeout(ctx, tryTimeout)
			resp, err := method(kringv1.NewCoordinatorsServiceClient(conn), try, req)
			cancel()
			if err == nil {
				return resp, nil
			}
			err = kverr.FromGRPC(err)
			if ctx.Err() == nil || last == nil {
				last = fmt.Errorf("coordinator at %s: %w", c.addresses[i], err)
			}
			if !kverr.Retryable(kverr.CodeOf(err)) {
				return none, last
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return none, last
		case <-timer.C:
		}
	}
}

// Backup is the coordinators' state as a file.
func Backup(ctx context.Context, c *Client) ([]byte, error) {
	return Call(ctx, c, &kringv1.BackupRequest{}, func(
		client kringv1.CoordinatorsServiceClient, ctx context.Context, req *kringv1.BackupRequest, options ...grpc.CallOption,
	) ([]byte, error) {
		stream, err := client.Backup(ctx, req, options...)
		if err != nil {
			return nil, err
		}
		var b []byte
		for {
			piece, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return b, nil
			}
			if err != nil {
				return nil, err
			}
			b = append(b, piece.GetData()...)
		}
	})
}
