package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// RESTConfig says how to reach gateways.
type RESTConfig struct {
	// Addresses are base URLs, "http://HOST:PORT"; requests go to them in turn. At least one.
	Addresses []string
	// Connections to each address, which is also the number of requests to it at a time. Default 64.
	Connections int
	// Timeout of one request, waiting for a connection included. Default 10 s: longer than the gateway's own, so that
	// the gateway gets to say what became of the request.
	Timeout time.Duration
	// MaxValueBytes bounds what is read. Default 16 MiB and some.
	MaxValueBytes int
}

const (
	defaultConnections = 64
	defaultRESTTimeout = 10 * time.Second
	defaultMaxBody     = 16<<20 + 64<<10
	kvPath             = "/v1/kv/"
)

// REST is the Target that speaks HTTP to gateways. The HTTP is valyala/fasthttp's, which costs a generator half the CPU
// of net/http's client; the connections are kept here, a fixed number of them, so that one call can be cut off by its
// context and nothing is ever sent twice behind the caller's back.
type REST struct {
	config RESTConfig
	hosts  []*restHost
	next   atomic.Uint64
}

// NewREST checks the configuration; connections are made when they are first needed.
func NewREST(c RESTConfig) (*REST, error) {
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	if c.Timeout == 0 {
		c.Timeout = defaultRESTTimeout
	}
	if c.MaxValueBytes == 0 {
		c.MaxValueBytes = defaultMaxBody
	}
	if len(c.Addresses) == 0 {
		return nil, errors.New("no address: give at least one gateway, like http://127.0.0.1:8080")
	}
	if c.Connections < 0 || c.Timeout < 0 || c.MaxValueBytes < 0 {
		return nil, errors.New("connections, timeout and value size must be positive")
	}
	t := &REST{config: c}
	for _, a := range c.Addresses {
		u, err := url.Parse(a)
		if err != nil || u.Scheme != "http" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("address %q: write http://HOST:PORT", a)
		}
		t.hosts = append(t.hosts, newRESTHost(u, c))
	}
	return t, nil
}

// Describe implements Target.
func (t *REST) Describe() Description {
	return Description{Name: "rest", Endpoints: t.config.Addresses}
}

// Close implements Target.
func (t *REST) Close() error {
	for _, h := range t.hosts {
		h.close()
	}
	return nil
}

// Get implements Target.
func (t *REST) Get(ctx context.Context, key, buffer []byte) (Read, error) {
	var read Read
	err := t.do(ctx, OpGet, key, nil, 0, func(r *fasthttp.Response) {
		read = Read{Value: append(buffer[:0], r.Body()...), Version: versionOf(r)}
	})
	return read, err
}

// Put implements Target.
func (t *REST) Put(ctx context.Context, key, value []byte) (version uint64, err error) {
	err = t.do(ctx, OpPut, key, value, 0, func(r *fasthttp.Response) { version = versionOf(r) })
	return version, err
}

// Delete implements Target.
func (t *REST) Delete(ctx context.Context, key []byte) (version uint64, err error) {
	err = t.do(ctx, OpDelete, key, nil, 0, func(r *fasthttp.Response) { version = versionOf(r) })
	return version, err
}

// CompareAndSwap implements Target.
func (t *REST) CompareAndSwap(ctx context.Context, key, value []byte, version uint64) (newVersion uint64, err error) {
	err = t.do(ctx, OpCAS, key, value, version, func(r *fasthttp.Response) { newVersion = versionOf(r) })
	return newVersion, err
}

// Increment implements Incrementer.
func (t *REST) Increment(ctx context.Context, key []byte, delta int64) (number int64, version uint64, err error) {
	var bad error
	err = t.do(ctx, OpIncr, key, strconv.AppendInt(nil, delta, 10), 0, func(r *fasthttp.Response) {
		number, bad = strconv.ParseInt(string(r.Body()), 10, 64)
		version = versionOf(r)
	})
	if err == nil && bad != nil {
		err = kverr.Newf(kverr.Corrupt, "the answer is not a number: %v", bad)
	}
	return number, version, err
}

// host is the one whose turn it is.
func (t *REST) host() *restHost {
	if len(t.hosts) == 1 {
		return t.hosts[0]
	}
	return t.hosts[t.next.Add(1)%uint64(len(t.hosts))]
}

// do sends one request; ok sees the answer of a request that succeeded, while it is valid.
func (t *REST) do(ctx context.Context, kind Kind, key, value []byte, version uint64, ok func(*fasthttp.Response)) error {
	return t.host().exchange(ctx, kind.Mutates(), func(c *restConn) {
		c.uri = appendPath(append(c.uri[:0], kvPath...), key)
		if kind == OpIncr {
			c.uri = append(append(c.uri, "?incr="...), value...)
		}
		c.request.Header.SetRequestURIBytes(c.uri)
		switch kind {
		case OpIncr:
			c.request.Header.SetMethod(fasthttp.MethodPost)
			return
		case OpGet:
			return
		case OpDelete:
			c.request.Header.SetMethod(fasthttp.MethodDelete)
			return
		case OpCAS:
			if version == 0 {
				c.request.Header.Set(fasthttp.HeaderIfNoneMatch, "*")
			} else {
				c.request.Header.Set(fasthttp.HeaderIfMatch, `"`+strconv.FormatUint(version, 10)+`"`)
			}
		}
		c.request.Header.SetMethod(fasthttp.MethodPut)
		c.request.SetBodyRaw(value)
	}, func(r *fasthttp.Response) error {
		if s := r.StatusCode(); s/100 != 2 {
			return problem(r, kind)
		}
		ok(r)
		return nil
	})
}

// appendPath appends key percent-encoded for a path; slashes stay.
func appendPath(dst, key []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, b := range key {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_', b == '~', b == '/', b == '.':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', hex[b>>4], hex[b&15])
		}
	}
	return dst
}

// versionOf is the version in an answer's ETag, 0 if it has none.
func versionOf(r *fasthttp.Response) uint64 {
	tag := r.Header.Peek(fasthttp.HeaderETag)
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return 0
	}
	v, err := strconv.ParseUint(string(tag[1:len(tag)-1]), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

var codeByName = func() map[string]kverr.Code {
	m := make(map[string]kverr.Code, len(kringv1.ErrorCode_name))
	for n := range kringv1.ErrorCode_name {
		if c := kverr.Code(n); c != kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED {
			m[kverr.Name(c)] = c
		}
	}
	return m
}()

// codeByStatus is for answers that carry no code, from proxies and servers other than a gateway.
var codeByStatus = map[int]kverr.Code{
	fasthttp.StatusPreconditionFailed:    kverr.PreconditionFailed,
	fasthttp.StatusRequestEntityTooLarge: kverr.ValueTooLarge,
	fasthttp.StatusRequestURITooLong:     kverr.KeyTooLong,
	fasthttp.StatusTooManyRequests:       kverr.Busy,
	fasthttp.StatusServiceUnavailable:    kverr.Unavailable,
	fasthttp.StatusInsufficientStorage:   kverr.DiskFull,
}

// problem makes the error that an answer describes.
func problem(r *fasthttp.Response, kind Kind) error {
	var body struct {
		Code, Title, Detail string
		Outcome             kverr.Outcome
	}
	e := &kverr.Error{Version: versionOf(r)}
	status := r.StatusCode()
	if json.Unmarshal(r.Body(), &body) == nil {
		e.Code, e.Message = codeByName[body.Code], body.Detail
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("HTTP status %d %s", status, body.Title)
	}
	if e.Code == 0 {
		e.Code = codeByStatus[status]
	}
	switch {
	case e.Code != 0:
	case status/100 == 4 || status/100 == 3:
		// A bare 404 is no gateway's word on a key: more likely the address is not a gateway's.
		e.Code = kverr.BadRequest
	case kind.Mutates():
		e.Code = kverr.OutcomeUnknown
	case status == fasthttp.StatusGatewayTimeout:
		e.Code = kverr.Deadline
	default:
		e.Code = kverr.Internal
	}
	if kind.Mutates() && body.Outcome == kverr.Unknown && kverr.OutcomeOf(e.Code) != kverr.Unknown {
		e.Code = kverr.OutcomeUnknown // whatever the code, the gateway knows best
	}
	if s, err := strconv.ParseUint(string(r.Header.Peek(fasthttp.HeaderRetryAfter)), 10, 16); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// dial is net.Dialer with what a benchmark wants: no delay for small writes is Go's default already.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}
