package gateway

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
)

// hostCheck judges Host headers. An IP address cannot be rebound and is always right.
type hostCheck struct {
	any      bool
	loopback bool            // localhost is right as well
	names    map[string]bool // lower case, with or without port
	last     atomic.Pointer[string]
}

func newHostCheck(allowed []string, listener net.Addr) *hostCheck {
	c := &hostCheck{names: make(map[string]bool)}
	for _, name := range allowed {
		if name == "*" {
			c.any = true
		}
		c.names[strings.ToLower(name)] = true
	}
	if tcp, ok := listener.(*net.TCPAddr); ok {
		c.loopback = tcp.IP.IsLoopback()
	}
	return c
}

// ok reports whether a request with this Host header is for us. Clients repeat themselves, so the last good one is
// remembered. HTTP/1.0 may come without; no browser sends that.
func (c *hostCheck) ok(host string) bool {
	if c.any || host == "" {
		return true
	}
	if last := c.last.Load(); last != nil && *last == host {
		return true
	}
	return c.remember(host)
}

// remember is apart from ok so that only it, and not every request, pays for the copy whose address is kept.
func (c *hostCheck) remember(host string) bool {
	if !c.judge(host) {
		return false
	}
	c.last.Store(&host)
	return true
}

func (c *hostCheck) judge(host string) bool {
	name := strings.ToLower(host)
	if c.names[name] {
		return true
	}
	if bare, _, err := net.SplitHostPort(name); err == nil {
		name = bare
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.TrimSuffix(name, ".")
	if c.names[name] {
		return true
	}
	return c.loopback && (name == "localhost" || strings.HasSuffix(name, ".localhost"))
}
