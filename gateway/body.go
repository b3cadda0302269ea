package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// bodyStep is how much of a body is read under one deadline.
const bodyStep = 64 << 10

// bodyTime is how long size bytes take at rate bytes a second.
func bodyTime(size, rate int64) time.Duration {
	return time.Duration(float64(size) / float64(rate) * float64(time.Second))
}

// bodyState is how far the request's body has been read.
type bodyState uint8

const (
	bodyDone   bodyState = iota // there is none, or it has been read to its end
	bodyUnread                  // announced, and nothing limits how long it takes to come
	bodyTimed                   // being read: a deadline is set
)

// leaveBody is for an answer that goes out ahead of the request's body: net/http must not wait for that. It reads the rest
// of a body before it writes an answer's header if the connection is to stay open, and some of it afterwards if not, both
// without a bound in time; so a sender that stalls would hold its request's place and its connection for ever.
func (x *exchange) leaveBody(header http.Header) {
	header["Connection"] = valuesClose
	if x.body != bodyUnread {
		return
	}
	x.body = bodyTimed
	// A writer without a connection has nothing to wait for, and any other error says that the connection has ended.
	_ = http.NewResponseController(x.ResponseWriter).SetReadDeadline(time.Now().Add(x.gateway.config.BodyGrace))
}

// readBody reads a PUT's body whole, bounded in bytes, in time, and in what all requests hold together. Whatever it
// holds is given back by release, which must be called whether or not there is an error. The slice is fresh: the client
// may hold on to it after it has answered.
func (g *Gateway) readBody(x *exchange, r *http.Request) (body []byte, release func(), err error) {
	if r.ContentLength > g.config.MaxValueBytes {
		return nil, nothing, g.tooLarge()
	}
	if r.ContentLength == 0 {
		return nil, nothing, nil
	}
	b := bodyReader{gateway: g, exchange: x, started: time.Now(), control: http.NewResponseController(x.ResponseWriter)}
	// MaxBytesReader must see net/http's own writer: that is how the connection learns not to read on.
	b.source = http.MaxBytesReader(x.ResponseWriter, r.Body, g.config.MaxValueBytes)
	release = func() { g.bodyBytes.Add(-b.held) }
	if r.ContentLength > 0 {
		body, err = b.readSized(r.ContentLength)
	} else {
		body, err = b.readChunked()
	}
	if err != nil {
		return nil, release, b.explain(err)
	}
	// Left in place, the deadline would cancel the request's context while the cluster is at work.
	if err := b.setDeadline(time.Time{}); err != nil {
		return nil, release, err
	}
	x.body = bodyDone
	return body, release, nil
}

func (g *Gateway) tooLarge() error {
	return kverr.Newf(kverr.ValueTooLarge, "a value has at most %d bytes here", g.config.MaxValueBytes)
}

type bodyReader struct {
	gateway  *Gateway
	exchange *exchange
	source   io.Reader
	control  *http.ResponseController
	started  time.Time
	held     int64 // of Gateway.bodyBytes
}

// hold takes n more bytes of the bound that all requests share.
func (b *bodyReader) hold(n int64) error {
	if b.gateway.bodyBytes.Add(n) > b.gateway.config.MaxBodyBytes {
		b.gateway.bodyBytes.Add(-n)
		return kverr.Retry(kverr.Busy, time.Second, "this gateway holds as many bytes of values under way as it takes")
	}
	b.held += n
	return nil
}

func (b *bodyReader) readSized(size int64) ([]byte, error) {
	if err := b.hold(size); err != nil {
		return nil, err
	}
	body := make([]byte, size)
	for have := 0; have < len(body); {
		step := min(len(body)-have, bodyStep)
		if err := b.allow(have + step); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(b.source, body[have:have+step])
		have += n
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}

func (b *bodyReader) readChunked() ([]byte, error) {
	limit := int(b.gateway.config.MaxValueBytes) + 1 // one more, so that the reader can notice what is too large
	var body []byte
	for {
		if len(body) == cap(body) {
			grown := min(max(2*cap(body), 4<<10), limit)
			if err := b.hold(int64(grown - cap(body))); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, grown), body...)
		}
		step := min(cap(body)-len(body), bodyStep)
		if err := b.allow(len(body) + step); err != nil {
			return nil, err
		}
		n, err := b.source.Read(body[len(body) : len(body)+step])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// allow sets the time by which the first size bytes must have arrived.
func (b *bodyReader) allow(size int) error {
	c := &b.gateway.config
	b.exchange.body = bodyTimed
	return b.setDeadline(b.started.Add(c.BodyGrace + bodyTime(int64(size), c.BodyBytesPerSec)))
}

func (b *bodyReader) setDeadline(t time.Time) error {
	err := b.control.SetReadDeadline(t)
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // a writer without a connection has no slow clients
		return fmt.Errorf("setting a deadline for the body: %w", err)
	}
	return nil
}

func (b *bodyReader) explain(err error) error {
	var tooLarge *http.MaxBytesError
	var ours *kverr.Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &tooLarge):
		return b.gateway.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowBody
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &refusal{
			status: http.StatusBadRequest, code: "incomplete_body", title: "Incomplete request body",
			detail: "the body ended before its announced length; nothing was written", retryable: true, close: true,
		}
	}
	return &refusal{
		status: http.StatusBadRequest, code: "bad_request", title: "Bad request",
		detail: "the body is malformed; nothing was written", close: true,
	}
}
