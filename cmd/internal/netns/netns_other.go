//go:build !linux

package netns

import "errors"

var errNotHere = errors.New("network namespaces need Linux")

// Network is not available on this system.
type Network struct{}

// Possible says why there can be no namespaces here.
func Possible() error { return errNotHere }

// New fails.
func New([]string) (*Network, error) { return nil, errNotHere }

// Address is never called.
func (*Network) Address(string) string { return "" }

// Command is never called.
func (*Network) Command(string) []string { return nil }

// Received fails.
func (*Network) Received(string) (uint64, error) { return 0, errNotHere }

// Cut fails.
func (*Network) Cut(string, string) error { return errNotHere }

// Mend fails.
func (*Network) Mend(string, string) error { return errNotHere }

// Passes fails.
func (*Network) Passes(string, string) (bool, error) { return false, errNotHere }

// Close does nothing.
func (*Network) Close() error { return nil }
