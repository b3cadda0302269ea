// Package target is what the peers' targets have in common.
package target

import (
	"context"
	"errors"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// Timeout of one request, as Kring's in the same comparison.
const Timeout = 10 * time.Second

// ReadWrite is the part of a bench.Target that no comparison uses: it refuses.
type ReadWrite struct{}

var errRefused = kverr.New(kverr.BadRequest, "peers are measured by gets and puts alone")

// Delete refuses.
func (ReadWrite) Delete(context.Context, []byte) (uint64, error) { return 0, errRefused }

// CompareAndSwap refuses.
func (ReadWrite) CompareAndSwap(context.Context, []byte, []byte, uint64) (uint64, error) {
	return 0, errRefused
}

// ReadError maps a client's error of a read.
func ReadError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return kverr.Newf(kverr.Deadline, "%v", err)
	case errors.Is(err, context.Canceled):
		return kverr.Newf(kverr.Canceled, "%v", err)
	}
	return kverr.Newf(kverr.Unavailable, "%v", err)
}

// WriteError maps a client's error of a write: it may have happened.
func WriteError(err error) error {
	if err == nil {
		return nil
	}
	return kverr.Newf(kverr.OutcomeUnknown, "%v", err)
}
