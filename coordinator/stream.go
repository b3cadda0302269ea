package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	greetingMagic   = "kring-raft/1 "
	greetingTimeout = 5 * time.Second
)

// stream is raft's network: a listener that is already bound, connections that begin with a greeting, and all of them
// closed at the end, which raft's own transport leaves undone.
//
// The greeting names the cluster. Raft has no such check: a coordinator that is started with the address of another
// cluster's would take part in the wrong elections.
type stream struct {
	net.Listener
	advertise net.Addr
	greeting  []byte

	mu     sync.Mutex
	open   map[*streamConn]struct{}
	closed bool
}

var _ raft.StreamLayer = (*stream)(nil)

// newStream takes a cluster name of at most 255 bytes.
func newStream(l net.Listener, advertise, cluster string) *stream {
	greeting := append([]byte(greetingMagic), byte(len(cluster)))
	return &stream{
		Listener: l, advertise: advertised(advertise), greeting: append(greeting, cluster...), open: map[*streamConn]struct{}{},
	}
}

// advertised is a net.Addr for an address that need not be this machine's own.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

func (s *stream) Addr() net.Addr { return s.advertise }

func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", string(address), timeout)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(conn.SetWriteDeadline(time.Now().Add(greetingTimeout)), writeAll(conn, s.greeting),
		conn.SetWriteDeadline(time.Time{})); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s.track(conn, nil)
}

// Accept does not wait for the greeting: the connection's first Read does, so that a silent caller holds up nobody else.
func (s *stream) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn, s.greeting)
}

func (s *stream) track(conn net.Conn, expect []byte) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c := &streamConn{Conn: conn, stream: s, expect: expect}
	s.open[c] = struct{}{}
	return c, nil
}

// Close closes the listener and every connection.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*streamConn]struct{}{}
	s.mu.Unlock()
	err := s.Listener.Close()
	for c := range open {
		if cerr := c.Conn.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

type streamConn struct {
	net.Conn
	stream *stream
	expect []byte // greeting to come first; nil: none, or checked. Used by the one reader.
}

func (c *streamConn) Read(b []byte) (int, error) {
	if c.expect != nil {
		if err := c.checkGreeting(); err != nil {
			return 0, err
		}
		c.expect = nil
	}
	return c.Conn.Read(b)
}

func (c *streamConn) checkGreeting() error {
	got := make([]byte, len(c.expect))
	if err := c.SetReadDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.Conn, got); err != nil {
		return fmt.Errorf("greeting of %s: %w", c.RemoteAddr(), err)
	}
	if !bytes.Equal(got, c.expect) {
		return fmt.Errorf("%s is no coordinator of this cluster: its greeting is %q, not %q", c.RemoteAddr(), got, c.expect)
	}
	return c.SetReadDeadline(time.Time{})
}

func (c *streamConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.open, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
