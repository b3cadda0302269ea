// Package rest is the command line's small client of a gateway's REST interface.
package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	dialTimeout     = 2 * time.Second
	maxProblemBytes = 64 << 10
	maxAnswerBytes  = 64 << 20 // of a JSON answer: a table of 16,384 partitions is a few MiB
)

// Client talks to the first of several gateways that can be reached.
type Client struct {
	bases []*url.URL
	http  *http.Client
}

// New makes a client for gateways, "http://HOST:PORT" each (http:// may be left out). They are tried in this order.
func New(addresses []string) (*Client, error) {
	c := &Client{http: &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			Proxy:               http.ProxyFromEnvironment,
			DisableCompression:  true, // what is stored is what is read
			TLSHandshakeTimeout: dialTimeout,
		},
		// Keys are bytes: a redirect would name another one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, a := range addresses {
		a = strings.TrimSpace(a)
		if a == "" {
			continue
		}
		if !strings.Contains(a, "://") {
			a = "http://" + a
		}
		u, err := url.Parse(a)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("address %q: write http://HOST:PORT", a)
		}
		u.Path = strings.TrimSuffix(u.Path, "/")
		c.bases = append(c.bases, u)
	}
	if len(c.bases) == 0 {
		return nil, errors.New("no address of a gateway given")
	}
	return c, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// KeyPath is where key is served whatever bytes it holds and whatever a proxy does to paths.
func KeyPath(key []byte) string { return "/v1/kv-base64/" + base64.RawURLEncoding.EncodeToString(key) }

// Request is one call.
type Request struct {
	Method string
	Path   string // escaped, with the leading slash
	Query  url.Values
	Header http.Header
	Body   []byte // nil: none
}

// once reports whether the request must not be sent twice: it may change something, and gateways would not know it again.
func (r *Request) once() bool {
	return r.changes() && r.Header.Get(idempotencyKey) == ""
}

// changes reports whether the request may change something.
func (r *Request) changes() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// Do sends r to the first gateway that answers; past one that breaks off, only what may be sent twice. The response is one of 2xx
// or 304, its body the caller's to close; any other is an error: *Problem, ErrUnreachable, or ErrOutcomeUnknown for a mutation whose
// answer was lost.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	var failures []error
	sent := false // a mutation, to a gateway that has not answered
	for _, base := range c.bases {
		response, err := c.send(ctx, base, r)
		if err == nil {
			return check(response, r.changes())
		}
		sent = sent || r.changes() && !neverSent(err)
		if sent && r.once() {
			return nil, fmt.Errorf("%w: %s: %w", ErrOutcomeUnknown, base.Host, err)
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	if sent {
		return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, errors.Join(failures...))
	}
	return nil, fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(failures...))
}

func (c *Client) send(ctx context.Context, base *url.URL, r Request) (*http.Response, error) {
	target := base.Scheme + "://" + base.Host + base.EscapedPath() + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if deadline, ok := ctx.Deadline(); ok {
		// So that the gateway gives its own answer before this side gives up.
		left := time.Until(deadline)
		wait := max(left-min(timeoutMargin, left/4), time.Millisecond)
		request.Header.Set("Request-Timeout", strconv.FormatFloat(wait.Seconds(), 'f', 3, 64))
	}
	return c.http.Do(request)
}

// timeoutMargin is what a gateway gets less than the caller has; of short times a quarter.
const timeoutMargin = 100 * time.Millisecond

// neverSent reports whether err means that no byte reached a gateway.
func neverSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}

func check(response *http.Response, changes bool) (*http.Response, error) {
	if s := response.StatusCode; s >= 200 && s < 300 || s == http.StatusNotModified {
		return response, nil
	}
	defer response.Body.Close()
	p := problemOf(response)
	if changes && p.Code == "" && p.Status >= http.StatusInternalServerError {
		p.Outcome = "unknown" // a proxy's word: it may have lost the gateway's answer
	}
	return nil, p
}

// JSON is a GET of path decoded into out.
func (c *Client) JSON(ctx context.Context, path string, query url.Values, out any) error {
	response, err := c.Do(ctx, Request{
		Method: http.MethodGet, Path: path, Query: query, Header: http.Header{"Accept": {"application/json"}},
	})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fmt.Errorf("%s answered %q and not JSON: is it a Kring gateway?", response.Request.URL, response.Header.Get("Content-Type"))
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", response.Request.URL, err)
	}
	return nil
}
