package bench

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/kringdb/kring/proto/kverr"
)

// keyPlaceholder in a URL stands for the key.
const keyPlaceholder = "{key}"

// URL is a Target for reading alone: GET of one URL with the very driver that REST uses, whatever the server is. {key}
// in its path is replaced by the key; without it, every key gets the same URL.
type URL struct {
	raw           string
	before, after string
	perKey        bool
	host          *restHost
}

// NewURL checks raw, "http://HOST:PORT/path". connections 0: 64.
func NewURL(raw string, connections int) (*URL, error) {
	u, err := url.Parse(strings.ReplaceAll(raw, keyPlaceholder, "KRING-KEY"))
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return nil, fmt.Errorf("URL %q: write http://HOST:PORT/path", raw)
	}
	if connections < 0 {
		return nil, fmt.Errorf("%d connections: give 1 or more", connections)
	}
	t := &URL{raw: raw}
	uri := strings.ReplaceAll(u.RequestURI(), "KRING-KEY", keyPlaceholder)
	t.before, t.after, t.perKey = strings.Cut(uri, keyPlaceholder)
	t.host = newRESTHost(u, RESTConfig{
		Connections: orDefault(connections, defaultConnections), Timeout: defaultRESTTimeout, MaxValueBytes: defaultMaxBody,
	})
	return t, nil
}

// Describe implements Target.
func (t *URL) Describe() Description { return Description{Name: "url", Endpoints: []string{t.raw}} }

// Get implements Target.
func (t *URL) Get(ctx context.Context, key, buffer []byte) (read Read, err error) {
	err = t.host.exchange(ctx, false, func(c *restConn) {
		c.uri = append(c.uri[:0], t.before...)
		if t.perKey {
			c.uri = append(appendPath(c.uri, key), t.after...)
		}
		c.request.Header.SetRequestURIBytes(c.uri)
	}, func(r *fasthttp.Response) error {
		if r.StatusCode()/100 != 2 {
			return problem(r, OpGet)
		}
		read = Read{Value: append(buffer[:0], r.Body()...), Version: versionOf(r)}
		return nil
	})
	return read, err
}

var errReadOnly = kverr.New(kverr.BadRequest, "a URL target only reads")

// Put implements Target: it refuses.
func (t *URL) Put(context.Context, []byte, []byte) (uint64, error) { return 0, errReadOnly }

// Delete implements Target: it refuses.
func (t *URL) Delete(context.Context, []byte) (uint64, error) { return 0, errReadOnly }

// CompareAndSwap implements Target: it refuses.
func (t *URL) CompareAndSwap(context.Context, []byte, []byte, uint64) (uint64, error) {
	return 0, errReadOnly
}

// Close implements Target.
func (t *URL) Close() error {
	t.host.close()
	return nil
}
