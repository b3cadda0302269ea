package client

import "github.com/kringdb/kring/proto/kverr"

// errClosed is final: unlike Unavailable, it is not tried again.
var errClosed = kverr.New(kverr.Canceled, "the client is closed")
