package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kringdb/kring/proto/kverr"
)

// listener bounds the connections that are open at a time and wraps them, so that the few requests which net/http turns
// down before any handler sees them are answered like every other: see conn.
type listener struct {
	net.Listener
	places chan struct{} // one taken for each open connection
	closed chan struct{}
	once   sync.Once
}

func newListener(inner net.Listener, most int) *listener {
	return &listener{Listener: inner, places: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for a place, then for a connection. net/http recognises TLS by the connection's type, so those stay bare.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	inner, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	if _, ok := inner.(*tls.Conn); ok {
		return inner, nil
	}
	return &conn{Conn: inner}, nil
}

// Close stops Accept.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// connState follows each connection: net/http reports every accepted one closed exactly once.
func (l *listener) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateClosed, http.StateHijacked:
		<-l.places
	case http.StateIdle:
		if c, ok := c.(*conn); ok {
			c.answering.Store(false)
		}
	}
}

type connKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// conn turns net/http's own refusals (bad escapes in the path, a malformed or too large header, an unknown transfer
// coding) into problem+json. net/http writes each in one Write, straight to the connection, and only while no handler is
// answering: answering is set before a handler runs and cleared when its answer has been flushed.
type conn struct {
	net.Conn
	answering atomic.Bool
	slow      atomic.Bool // a deadline has passed while reading a header
}

// Read notes deadlines that pass: net/http calls half a header malformed when the other half was too slow.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !c.answering.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		c.slow.Store(true)
	}
	return n, err
}

const (
	refusalStart   = "HTTP/1.1 "
	refusalHeaders = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
)

// Write rewrites a refusal of net/http's and passes on everything else.
func (c *conn) Write(p []byte) (int, error) {
	if c.answering.Load() || !bytes.HasPrefix(p, []byte(refusalStart)) {
		return c.Conn.Write(p)
	}
	line, text, ok := strings.Cut(string(p), refusalHeaders)
	status, err := strconv.Atoi(firstWord(line[len(refusalStart):]))
	if !ok || err != nil || status < 400 {
		return c.Conn.Write(p)
	}
	if status == http.StatusBadRequest && c.slow.Load() {
		status = http.StatusRequestTimeout
	}
	if _, err := c.Conn.Write(ownRefusal(status, text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite is what net/http closes with, so that a client still sending gets to read the refusal.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// ownRefusal is a whole answer in the place of net/http's with this status and text.
func ownRefusal(status int, text string) []byte {
	p := problem{Title: http.StatusText(status), Status: status, Detail: text, Code: "bad_request", Outcome: kverr.OutcomeNone}
	switch status {
	case http.StatusBadRequest:
		if text == "400 Bad Request" { // net/http says no more
			p.Detail = "the request line or header is malformed; in a path a % must be followed by two hex digits, and spaces, " +
				"control characters and the like must be percent-encoded"
		}
	case http.StatusRequestTimeout:
		p.Code, p.Retryable = "slow_header", true
		p.Detail = "the request line and header did not arrive in time"
	case http.StatusRequestHeaderFieldsTooLarge:
		p.Code = "header_too_large"
		p.Detail = "the request line and header are larger than this gateway reads"
	default:
		p.Code = "not_implemented"
	}
	p.Type = problemTypes + p.Code
	body, err := json.Marshal(&p)
	if err != nil { // strings, numbers and booleans always encode
		panic(err)
	}
	body = append(body, '\n')
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"+
		"Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
		status, http.StatusText(status), len(body))
	return append([]byte(head), body...)
}
