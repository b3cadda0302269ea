package client

import (
	"context"
	"errors"
	"io"

	"github.com/kringdb/kring/proto/kverr"
)

// errClosed is final: unlike Unavailable, it is not tried again.
var errClosed = kverr.New(kverr.Canceled, "the client is closed")

// errTimeout ends a call whose context has no deadline of its own.
var errTimeout = kverr.New(kverr.Deadline, "no answer within the client's timeout")

// contextError is what a caller gets whose ctx has ended.
func contextError(ctx context.Context) *kverr.Error {
	if kverr.CodeOf(ctx.Err()) == kverr.Deadline {
		return kverr.New(kverr.Deadline, "no answer before the deadline")
	}
	return kverr.New(kverr.Canceled, "the caller has given up")
}

// errMoved is for requests that meet a connection whose node has gone from the table, or has moved: nothing was sent.
var errMoved = kverr.New(kverr.Unavailable, "the node has gone or has moved to another address")

// errSilent is for requests to a node whose process does not answer anything: stopped, overrun, or cut off without its connection's
// knowing.
var errSilent = kverr.New(kverr.Unavailable, "the node gives no sign of life")

// errWithdrawn is for requests that were waiting at a node when the table named another primary.
var errWithdrawn = kverr.New(kverr.Unavailable, "another node has become primary meanwhile")

// lostError is for requests whose stream has ended, for whatever reason the node gave.
func lostError(err error) *kverr.Error {
	if errors.Is(err, io.EOF) {
		return kverr.New(kverr.Unavailable, "the node ended the stream in good order")
	}
	return kverr.Newf(kverr.Unavailable, "the stream to the node broke: %v", kverr.FromGRPC(err))
}
