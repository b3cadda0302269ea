package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

var (
	valuesTrue = []string{"true"}
	valuesText = []string{"text/plain; charset=utf-8"}
)

// putKey serves PUT. Everything that can be refused is refused before the body is read, and the request's time starts
// once it has been: a slow sender is the body's deadline's business.
func (g *Gateway) putKey(x *exchange, r *http.Request) error {
	m, err := g.parseMutation(r, "ttl")
	if err != nil {
		return err
	}
	if len(r.Header["Content-Range"]) > 0 {
		return kverr.New(kverr.BadRequest, "Content-Range: a value is written whole or not at all")
	}
	ttl, err := m.ttl()
	if err != nil {
		return err
	}
	attributes, some, err := parseAttributes(r.Header)
	if err != nil {
		return err
	}
	if some {
		m.options = append(m.options, client.WithAttributes(attributes))
	}
	if ttl > 0 {
		m.options = append(m.options, client.TTL(ttl))
	}
	body, release, err := g.readBody(x, r)
	defer release()
	if err != nil {
		return err
	}
	m.identify(r, func(h *fingerprint) {
		h.number(int64(ttl))
		h.attributes(&attributes)
		h.bytes(body)
	})
	ctx, cancel := g.limit(r, m.timeout)
	defer cancel()
	x.waits = time.Now()
	result, err := g.config.Client.Put(ctx, m.key, body, append(m.options, client.WantExisted())...)
	x.node = time.Since(x.waits)
	x.appendOrigin(&result)
	if err != nil {
		return err
	}
	x.appendETag(result.Version)
	if result.Existed {
		x.WriteHeader(http.StatusNoContent)
	} else {
		x.WriteHeader(http.StatusCreated)
	}
	return nil
}

// deleteKey serves DELETE. It does not tell whether the key was there: a repeated DELETE gets the same answer.
func (g *Gateway) deleteKey(x *exchange, r *http.Request) error {
	m, err := g.parseMutation(r)
	if err == nil {
		err = noBody(r)
	}
	if err != nil {
		return err
	}
	m.identify(r, func(*fingerprint) {})
	ctx, cancel := g.limit(r, m.timeout)
	defer cancel()
	result, err := g.config.Client.Delete(ctx, m.key, m.options...)
	x.node = time.Since(x.started)
	x.appendOrigin(&result)
	if err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// postKey serves POST: incr= is all there is. The answer's body is what a GET would give: the new number in decimal.
func (g *Gateway) postKey(x *exchange, r *http.Request) error {
	m, err := g.parseMutation(r, "incr")
	if err == nil {
		err = noBody(r)
	}
	if err != nil {
		return err
	}
	delta, err := m.delta()
	if err != nil {
		return err
	}
	m.identify(r, func(h *fingerprint) { h.number(delta) })
	ctx, cancel := g.limit(r, m.timeout)
	defer cancel()
	number, result, err := g.config.Client.Incr(ctx, m.key, delta, m.options...)
	x.node = time.Since(x.started)
	x.appendOrigin(&result)
	if err != nil {
		return err
	}
	x.appendETag(result.Version)
	body := strconv.AppendInt(nil, number, 10)
	header := x.Header()
	header["Content-Type"], header["Cache-Control"] = valuesText, valuesNoCache
	x.appendLength(uint64(len(body)))
	x.WriteHeader(http.StatusOK)
	x.send(body)
	return nil
}

// noBody refuses a body where none belongs: somebody took the method for another.
func noBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	return &refusal{
		status: http.StatusBadRequest, code: "bad_request", title: "Bad request", detail: r.Method + " takes no body", close: true,
	}
}

// mutation is what PUT, POST and DELETE share.
type mutation struct {
	key        []byte
	query      query
	conditions client.Condition
	options    []client.Option
	timeout    time.Duration // 0: not said
}

// parseMutation reads all but the body, and what is told by parameters besides timeout=.
func (g *Gateway) parseMutation(r *http.Request, parameters ...string) (m mutation, err error) {
	if m.key, err = keyFromPath(r.URL); err != nil {
		return m, err
	}
	if m.query, err = parseQuery(r.URL.RawQuery, append(parameters, "timeout")...); err != nil {
		return m, err
	}
	if m.timeout, err = g.timeoutOf(r, &m.query); err != nil {
		return m, err
	}
	if err := checkIdempotencyKey(r.Header["Idempotency-Key"]); err != nil {
		return m, err
	}
	conditions, err := parseConditions(r.Header)
	if err != nil {
		return m, err
	}
	m.options = make([]client.Option, 0, 5)
	condition, some := conditions.forMutation()
	if some {
		m.conditions = condition
		m.options = append(m.options, client.If(condition))
	}
	return m, nil
}

// maxTTL is a bound that nobody meets but by mistake.
const maxTTL = 100 * 365 * 24 * time.Hour

// ttl is what ttl= asks for; 0 if it is not given. Unlike a time limit it is never clipped: a value would be gone too soon.
func (m *mutation) ttl() (time.Duration, error) {
	s, ok := m.query.get("ttl")
	if !ok {
		return 0, nil
	}
	d, ok := parseDuration(s)
	if !ok || d < time.Millisecond || d > maxTTL {
		return 0, kverr.Newf(kverr.BadRequest,
			`ttl= must be a duration such as "30s", "1h30m", or seconds such as "30", from 1ms to 100 years (876000h)`)
	}
	return d, nil
}

// delta is what incr= asks for.
func (m *mutation) delta() (int64, error) {
	s, ok := m.query.get("incr")
	if !ok {
		return 0, kverr.New(kverr.BadRequest, "POST needs incr=, such as ?incr=1; to store a value, use PUT")
	}
	delta, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, kverr.New(kverr.BadRequest, "incr= must be a whole number of 64 bits, such as 5 or -5")
	}
	return delta, nil
}
