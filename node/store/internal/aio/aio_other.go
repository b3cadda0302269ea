//go:build !linux

package aio

import "errors"

// Syncer is never made.
type Syncer struct{}

// New says that there are no such syncs here.
func New() (*Syncer, error) { return nil, errors.ErrUnsupported }

// SyncData is never called.
func (*Syncer) SyncData(uintptr) error { return errors.ErrUnsupported }

// Close is never called.
func (*Syncer) Close() error { return nil }
