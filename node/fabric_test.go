package node

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

// fabric is a network in memory, which runs on virtual time and whose links can be cut in each direction. What is sent over a link
// that is cut waits, as it does in TCP.
type fabric struct {
	mu        sync.Mutex
	hosts     int
	listeners map[string]*bufconn.Listener // by address
	names     map[string]string            // address to host
	cut       map[[2]string]bool           // from, to
	changed   chan struct{}                // closed and replaced when cut changes
}

func newFabric() *fabric {
	return &fabric{
		listeners: make(map[string]*bufconn.Listener), names: make(map[string]string), cut: make(map[[2]string]bool),
		changed: make(chan struct{}),
	}
}

// fabricListener has an address of its own, as gRPC wants one.
type fabricListener struct {
	*bufconn.Listener
	address *net.TCPAddr
}

func (l fabricListener) Addr() net.Addr { return l.address }

func (f *fabric) listen(_ testing.TB, host string) net.Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts++
	l := fabricListener{bufconn.Listen(1 << 20), &net.TCPAddr{IP: net.IPv4(10, 0, byte(f.hosts>>8), byte(f.hosts)), Port: 7000}}
	f.listeners[l.address.String()], f.names[l.address.String()] = l.Listener, host
	return l
}

func (f *fabric) dialOptions(host string) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		f.mu.Lock()
		l, to := f.listeners[address], f.names[address]
		f.mu.Unlock()
		if l == nil {
			return nil, fmt.Errorf("nothing was ever at %s", address)
		}
		c := &fabricConn{fabric: f, out: [2]string{host, to}, in: [2]string{to, host}, closed: make(chan struct{})}
		if err := c.wait(ctx.Done(), c.out); err != nil {
			return nil, err
		}
		var err error
		c.Conn, err = l.DialContext(ctx)
		return c, err
	})}
}

// setCut cuts or mends what goes from one host to another.
func (f *fabric) setCut(from, to string, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut[[2]string{from, to}] = cut
	close(f.changed)
	f.changed = make(chan struct{})
}

// isolate cuts or mends everything to and from a host.
func (f *fabric) isolate(host string, cut bool) {
	f.mu.Lock()
	others := make(map[string]bool)
	for _, name := range f.names {
		others[name] = true
	}
	f.mu.Unlock()
	others[clientHost] = true
	for other := range others {
		if other != host {
			f.setCut(host, other, cut)
			f.setCut(other, host, cut)
		}
	}
}

// fabricConn is the dialling end of a connection.
type fabricConn struct {
	net.Conn
	fabric  *fabric
	out, in [2]string
	once    sync.Once
	closed  chan struct{}
}

// wait returns once a direction is open.
func (c *fabricConn) wait(done <-chan struct{}, direction [2]string) error {
	for {
		c.fabric.mu.Lock()
		cut, changed := c.fabric.cut[direction], c.fabric.changed
		c.fabric.mu.Unlock()
		if !cut {
			return nil
		}
		select {
		case <-changed:
		case <-done:
			return context.DeadlineExceeded
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

func (c *fabricConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if werr := c.wait(nil, c.in); werr != nil {
		return 0, werr
	}
	return n, err
}

func (c *fabricConn) Write(b []byte) (int, error) {
	if err := c.wait(nil, c.out); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *fabricConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
