package gateway

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// parseTimeout reads a positive duration; what is longer than most is clipped to it.
func parseTimeout(name, s string, most time.Duration) (time.Duration, error) {
	d, ok := parseDuration(s)
	if !ok || d <= 0 {
		return 0, kverr.Newf(kverr.BadRequest, `%s must be a positive duration such as "2s", "250ms", or seconds such as "2"`, name)
	}
	return min(d, most), nil
}

// parseDuration reads "2s", "250ms", "1h30m" or plain seconds, "2" or "0.25"; more seconds than a Duration holds are the longest.
func parseDuration(s string) (time.Duration, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	if seconds >= time.Duration(math.MaxInt64).Seconds() {
		return math.MaxInt64, true
	}
	return time.Duration(seconds * float64(time.Second)), true
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
