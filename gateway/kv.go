package gateway

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

var (
	valuesNoCache = []string{"no-cache"}
	valuesSandbox = []string{"sandbox"}
	valuesBytes   = []string{"bytes"}
)

// getKey serves GET of a key.
func (g *Gateway) getKey(x *exchange, r *http.Request) error {
	v, done, err := g.read(x, r, g.config.Client.Get)
	if done || err != nil {
		return err
	}
	if lines := r.Header["Range"]; len(lines) == 1 {
		return x.sendRange(r, &v, lines[0])
	}
	x.appendLength(uint64(len(v.Value)))
	x.WriteHeader(http.StatusOK)
	x.send(v.Value)
	return nil
}

// headKey serves HEAD of a key: what GET answers, without the value. Ranges are for GET only.
func (g *Gateway) headKey(x *exchange, r *http.Request) error {
	v, done, err := g.read(x, r, g.config.Client.Head)
	if done || err != nil {
		return err
	}
	x.appendLength(v.Size)
	x.WriteHeader(http.StatusOK)
	return nil
}

type readCall func(ctx context.Context, key []byte, options ...client.Option) (client.Value, error)

// read does what GET and HEAD share: everything but the body. done says that the answer is out: 304.
func (g *Gateway) read(x *exchange, r *http.Request, call readCall) (v client.Value, done bool, err error) {
	key, err := keyFromPath(r.URL)
	if err != nil {
		return v, false, err
	}
	q, err := parseQuery(r.URL.RawQuery, "timeout", "consistency")
	if err != nil {
		return v, false, err
	}
	if c, ok := q.get("consistency"); ok && c != "linearizable" {
		return v, false, kverr.Newf(kverr.BadRequest, "consistency=%s is not yet supported: linearizable is", c)
	}
	conditions, err := parseConditions(r.Header)
	if err != nil {
		return v, false, err
	}
	timeout, err := g.timeoutOf(r, &q)
	if err != nil {
		return v, false, err
	}
	ctx, cancel := g.limit(r, timeout)
	defer cancel()
	v, err = call(ctx, key)
	x.node = time.Since(x.started)
	x.appendOrigin(&v.Result)
	if err == nil {
		err = x.holdValue(v.Value)
	}
	if err != nil {
		return v, false, err
	}
	switch conditions.forRead(v.Version) {
	case http.StatusPreconditionFailed:
		return v, false, &kverr.Error{Code: kverr.PreconditionFailed, Version: v.Version}
	case http.StatusNotModified:
		x.Header()["Cache-Control"] = valuesNoCache
		x.appendETag(v.Version)
		x.WriteHeader(http.StatusNotModified)
		return v, true, nil
	}
	x.appendETag(v.Version)
	header := x.Header()
	header["Cache-Control"] = valuesNoCache
	header["Content-Security-Policy"] = valuesSandbox
	header["Accept-Ranges"] = valuesBytes
	setAttributes(header, &v.Attributes)
	if v.TTL > 0 {
		x.text = strconv.AppendInt(x.text, secondsLeft(v.TTL), 10)
		x.field("Kring-Ttl")
	}
	return v, false, nil
}

// smallValue is the size up to which a value being sent is not counted: MaxInFlight of them are 32 MiB by default, and
// they mostly fit net/http's buffers, so that a slow reader does not hold them anyway.
const smallValue = 4 << 10

// holdValue takes value's size of the bound that all answers share; it is given back when x is finished. The client has the
// value already, so this bounds what slow readers hold, not what comes in at one moment.
func (x *exchange) holdValue(value []byte) error {
	n := int64(len(value))
	if n <= smallValue {
		return nil
	}
	// One value alone is let through whatever its size, or it could never be sent.
	if now := x.gateway.answerBytes.Add(n); now > x.gateway.config.MaxAnswerBytes && now > n {
		x.gateway.answerBytes.Add(-n)
		return kverr.Retry(kverr.Busy, time.Second, "this gateway is sending as many bytes of values as it takes at a time")
	}
	x.held = n
	return nil
}

// secondsLeft rounds up: a value that is still there has at least a second.
func secondsLeft(ttl time.Duration) int64 { return int64((ttl + time.Second - 1) / time.Second) }

// appendETag gives the version as a strong entity tag.
func (x *exchange) appendETag(version uint64) {
	x.text = append(x.text, '"')
	x.text = strconv.AppendUint(x.text, version, 10)
	x.text = append(x.text, '"')
	x.field("Etag")
}

func (x *exchange) appendLength(n uint64) {
	x.text = strconv.AppendUint(x.text, n, 10)
	x.field("Content-Length")
}

// appendOrigin names who served the key, if anybody did: errors of nodes have an origin too.
func (x *exchange) appendOrigin(r *client.Result) {
	if r.Replayed {
		x.Header()["Idempotency-Replayed"] = valuesTrue
	}
	if r.Epoch != 0 {
		x.text = appendEpoch(x.text, r.Epoch)
		x.field("Kring-Epoch")
	}
	if r.Node != "" {
		x.text = append(x.text, r.Node...)
		x.field("Kring-Node")
	}
}

// appendEpoch writes what Epoch.String does, without its cost.
func appendEpoch(b []byte, e ring.Epoch) []byte {
	if restores := e.Restores(); restores != 0 {
		b = strconv.AppendUint(b, uint64(restores), 10)
		b = append(b, '.')
	}
	return strconv.AppendUint(b, e.Number(), 10)
}
