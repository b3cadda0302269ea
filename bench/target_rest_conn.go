package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"github.com/kringdb/kring/proto/kverr"
)

// restHost is the fixed set of connections to one address. A connection is in idle, or in the hands of one exchange.
type restHost struct {
	address string // HOST:PORT to dial
	name    []byte // of the Host header
	config  RESTConfig
	idle    chan *restConn
}

// restConn is one connection with the buffers of the request that uses it.
type restConn struct {
	net      net.Conn // nil: to be dialled
	reader   *bufio.Reader
	writer   *bufio.Writer
	lastUsed time.Time
	request  fasthttp.Request
	response fasthttp.Response
	uri      []byte
}

const (
	connBufferBytes = 16 << 10
	// maxIdle is below the idle timeout of common servers: a request must not meet a connection that the other side is
	// just closing, since a mutation's outcome would then be unknown for nothing.
	maxIdle = 5 * time.Second
	// checkIdle is how long a connection rests before it is looked at again, for the price of a system call.
	checkIdle = 50 * time.Millisecond
	// keepBodyBytes is the largest body buffer that a connection keeps for the next response.
	keepBodyBytes = 1 << 20
)

func newRESTHost(u *url.URL, c RESTConfig) *restHost {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	h := &restHost{address: address, name: []byte(u.Host), config: c, idle: make(chan *restConn, c.Connections)}
	for range c.Connections {
		h.idle <- &restConn{}
	}
	return h
}

func (h *restHost) close() {
	for range h.config.Connections {
		(<-h.idle).disconnect()
	}
}

func (c *restConn) disconnect() {
	if c.net != nil {
		// Nothing is buffered for sending, so closing has nothing to tell.
		_ = c.net.Close()
		c.net = nil
	}
}

// exchange sends the request that fill makes and hands the response to read, on one of the connections.
func (h *restHost) exchange(ctx context.Context, mutates bool, fill func(*restConn), read func(*fasthttp.Response) error) error {
	deadline := time.Now().Add(h.config.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	c, err := h.acquire(ctx, deadline)
	if err != nil {
		return err
	}
	defer h.release(c)
	if err := h.connect(ctx, c, deadline); err != nil {
		return err
	}
	c.request.Reset()
	c.response.Reset()
	c.request.Header.SetNoDefaultContentType(true)
	c.request.Header.SetHostBytes(h.name)
	fill(c)
	sent, err := c.roundTrip(ctx, deadline, h.config.MaxValueBytes)
	if err != nil {
		c.disconnect()
		return lost(ctx, err, mutates && sent)
	}
	if c.response.ConnectionClose() {
		c.disconnect()
	}
	c.lastUsed = time.Now()
	return read(&c.response)
}

// acquire waits for a connection; it takes an idle one at once without setting a timer.
func (h *restHost) acquire(ctx context.Context, deadline time.Time) (*restConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, kverr.As(err)
	}
	select {
	case c := <-h.idle:
		return c, nil
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case c := <-h.idle:
		return c, nil
	case <-ctx.Done():
		return nil, kverr.As(ctx.Err())
	case <-timer.C:
		return nil, kverr.Newf(kverr.Deadline, "no connection to %s became free in time", h.address)
	}
}

func (h *restHost) release(c *restConn) {
	if cap(c.response.Body()) > keepBodyBytes {
		c.response = fasthttp.Response{}
	}
	c.request.ResetBody() // the value is the caller's
	h.idle <- c
}

func (h *restHost) connect(ctx context.Context, c *restConn, deadline time.Time) error {
	if c.net != nil {
		if idle := time.Since(c.lastUsed); idle > maxIdle || idle > checkIdle && !quiet(c.net) {
			c.disconnect()
		}
	}
	if c.net != nil {
		return nil
	}
	dialing, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := dial(dialing, h.address)
	if err != nil {
		return lost(ctx, err, false)
	}
	c.net = conn
	if c.reader == nil {
		c.reader, c.writer = bufio.NewReaderSize(conn, connBufferBytes), bufio.NewWriterSize(conn, connBufferBytes)
	}
	c.reader.Reset(conn)
	c.writer.Reset(conn)
	return nil
}

// quiet reports whether conn has nothing to read, not even its end: one that the other side has closed, or answers on
// unasked, is not fit for a request.
func quiet(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	var peek [1]byte
	nothing := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), peek[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		nothing = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && nothing
}

// roundTrip writes the request and reads the response; sent: bytes of it may have left.
func (c *restConn) roundTrip(ctx context.Context, deadline time.Time, maxBody int) (sent bool, err error) {
	if err := c.net.SetDeadline(deadline); err != nil {
		return false, err
	}
	// Taken out of c, since the function may run just when the call is over.
	conn := c.net
	stop := context.AfterFunc(ctx, func() {
		// A deadline that has passed ends reads and writes at once; an error means that it is closed already.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() && err == nil {
			// The deadline was, or is about to be, spoilt: the answer is good, the connection is not.
			c.response.SetConnectionClose()
		}
	}()
	if err := c.request.Write(c.writer); err != nil {
		return true, err
	}
	if err := c.writer.Flush(); err != nil {
		return true, err
	}
	return true, c.response.ReadLimitBody(c.reader, maxBody)
}

// lost names what became of a call that got no answer.
func lost(ctx context.Context, err error, mayHaveHappened bool) error {
	timedOut := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fasthttp.ErrTimeout)
	if errors.Is(err, io.EOF) {
		err = errors.New("the connection was closed before the answer")
	}
	switch {
	case mayHaveHappened:
		return kverr.Newf(kverr.OutcomeUnknown, "no answer: %v", err)
	case ctx.Err() != nil:
		return kverr.As(ctx.Err())
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return kverr.Newf(kverr.ValueTooLarge, "the answer is longer than this client takes")
	case timedOut:
		return kverr.Newf(kverr.Deadline, "no answer in time: %v", err)
	}
	return kverr.Newf(kverr.Unavailable, "no answer: %v", err)
}
