// Package listen opens the sockets of members, and refuses to open one to the world by accident.
package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ErrAddress means that an address is not written as IP:PORT.
var ErrAddress = errors.New("not an IP:PORT")

// ErrExposed means an address can be reached from other machines and nobody said that it may.
var ErrExposed = errors.New("is reachable from other machines and nothing is encrypted or authenticated yet; " +
	"bind a loopback address such as 127.0.0.1, or give --insecure if the network is trusted")

// Check judges an address to bind, "IP:PORT". Names are refused: they may resolve to any interface. Unless insecure, so is
// whatever is not loopback.
func Check(address string, insecure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w such as 127.0.0.1:8080", address, ErrAddress)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("address %q: %w: write an IP in place of %q, such as 127.0.0.1 (0.0.0.0 for every interface)",
			address, ErrAddress, host)
	}
	if !ip.IsLoopback() && !insecure {
		return fmt.Errorf("address %s %w", address, ErrExposed)
	}
	return nil
}

// TCP checks address and listens on it. Port 0 chooses a free one.
func TCP(address string, insecure bool) (net.Listener, error) {
	if err := Check(address, insecure); err != nil {
		return nil, err
	}
	return net.Listen("tcp", address)
}

// Advertised is what others are told to dial: the given address, or else where the listener is bound. A listener on every
// interface has no address to tell, so one must be given.
func Advertised(given string, bound net.Addr) (string, error) {
	address := given
	if address == "" {
		address = bound.String()
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return "", fmt.Errorf("advertised address %q: %w", address, ErrAddress)
	}
	if ap.Addr().IsUnspecified() {
		return "", fmt.Errorf("bound to every interface (%s): say with --advertise-… which address others should dial", bound)
	}
	if ap.Port() == 0 {
		return "", fmt.Errorf("advertised address %q has no port", address)
	}
	return address, nil
}
