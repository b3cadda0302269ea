package gateway

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// parseTimeout reads "2s", "250ms" or plain seconds, "2" or "0.25"; what is longer than most is clipped to it.
func parseTimeout(name, s string, most time.Duration) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, kverr.Newf(kverr.BadRequest, `%s must be a positive duration such as "2s", "250ms", or seconds such as "2"`, name)
	}
	var d time.Duration
	if s != "" && strings.Trim(s, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return bad()
		}
		if seconds > most.Seconds() {
			return most, nil
		}
		d = time.Duration(seconds * float64(time.Second))
	} else {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			return bad()
		}
	}
	if d <= 0 {
		return bad()
	}
	return min(d, most), nil
}

// timeoutOf is what the request asks for, by timeout= or else Request-Timeout; 0 if by neither.
func (g *Gateway) timeoutOf(r *http.Request, q *query) (time.Duration, error) {
	if s, ok := q.get("timeout"); ok {
		return parseTimeout("timeout=", s, g.config.MaxTimeout)
	}
	if lines := r.Header["Request-Timeout"]; len(lines) > 0 {
		return parseTimeout("Request-Timeout", lines[0], g.config.MaxTimeout)
	}
	return 0, nil
}

func nothing() {}

// limit gives the context for the request's client calls, from now on. Without a timeout of the request's or the
// configuration's it is the connection's own, and the client applies its own: that costs neither a timer nor a goroutine.
func (g *Gateway) limit(r *http.Request, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		timeout = g.config.DefaultTimeout
	}
	if timeout == 0 {
		return r.Context(), nothing
	}
	return context.WithTimeout(r.Context(), timeout)
}
