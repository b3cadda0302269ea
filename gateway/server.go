package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes builds the router. Its catch-all decides only which handler serves; no handler uses what it matched.
func (g *Gateway) routes() *chi.Mux {
	mux := chi.NewRouter()
	for _, path := range []string{keyPrefix + "*", keyBase64Prefix + "*"} {
		mux.Get(path, g.handle(g.getKey))
		mux.Head(path, g.handle(g.headKey))
		mux.Put(path, g.handle(g.putKey))
		mux.Post(path, g.handle(g.postKey))
		mux.Delete(path, g.handle(g.deleteKey))
	}
	get := func(path string, h http.HandlerFunc) {
		mux.Get(path, h)
		mux.Head(path, h)
	}
	get("/v1/cluster", g.handle(g.getCluster))
	get("/v1/cluster/members", g.handle(g.getMembers))
	get("/v1/cluster/ring", g.handle(g.getRing))
	get("/v1/cluster/locate", g.handle(g.getLocate))
	get("/v1/cluster/copies", g.handle(g.getCopies))
	get("/v1/cluster/recover", g.handle(g.getRecover))
	mux.Post("/v1/cluster/recover", g.handle(g.postRecover))
	g.operationRoutes(mux, get)
	get("/livez", g.handle(g.getLive))
	get("/readyz", g.handle(g.getReady))
	get("/metrics", promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{
		Registry: g.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}).ServeHTTP)
	get("/", g.handle(g.getIndex))
	mux.NotFound(g.handle(noRoute))
	mux.MethodNotAllowed(g.handle(g.wrongMethod))
	return mux
}

// handler answers one request; what it returns as an error is rendered by fail.
type handler func(x *exchange, r *http.Request) error

func (g *Gateway) handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange) // ServeHTTP is the only way in
		if err := h(x, r); err != nil {
			x.fail(r, err)
		}
	}
}

func noRoute(*exchange, *http.Request) error {
	return &refusal{
		status: http.StatusNotFound, code: "no_route", title: "No such resource",
		detail: "nothing is served at this path; / lists what is",
	}
}

// wrongMethod answers 405, or OPTIONS, with the methods that the path does have.
func (g *Gateway) wrongMethod(x *exchange, r *http.Request) error {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	allowed := make([]string, 0, 6)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
		if g.mux.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return noRoute(x, r)
	}
	x.Header().Set("Allow", strings.Join(append(allowed, http.MethodOptions), ", "))
	if r.Method == http.MethodOptions {
		x.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &refusal{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed", title: "Method not allowed",
		detail: fmt.Sprintf("%s is not served here; Allow lists what is", r.Method),
	}
}

// ServeHTTP is the way in for every request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.answering.Store(true) // until net/http reports the connection idle
	}
	x := exchanges.Get().(*exchange)
	now := time.Now()
	*x = exchange{
		ResponseWriter: w, gateway: g, request: r, started: now, waits: now, requestID: incomingRequestID(r.Header),
		number: g.numbers.Add(1), text: x.text[:0], fields: x.fields[:0],
	}
	if r.ContentLength != 0 {
		x.body = bodyUnread
	}
	defer g.finish(x)
	g.serve(x, r)
}

func (g *Gateway) serve(x *exchange, r *http.Request) {
	if !g.hosts.ok(r.Host) {
		x.fail(r, &refusal{
			status: http.StatusMisdirectedRequest, code: "misdirected", title: "Unknown host",
			detail: fmt.Sprintf("the Host header names %q, which this gateway does not answer to: use its address, or have the name allowed", r.Host),
		})
		return
	}
	if err := g.origins.Check(r); err != nil {
		x.fail(r, &refusal{
			status: http.StatusForbidden, code: "cross_origin", title: "Cross-origin request refused", detail: err.Error(),
		})
		return
	}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		if g.inFlight.Add(1) > int64(g.config.MaxInFlight) {
			g.inFlight.Add(-1)
			x.fail(r, errBusy)
			return
		}
		defer g.inFlight.Add(-1)
	}
	g.mux.ServeHTTP(x, r)
}

// finish recovers from panics, counts, and gives x back.
func (g *Gateway) finish(x *exchange) {
	problem := recover()
	if problem != nil {
		aborted := problem == http.ErrAbortHandler //nolint:errorlint // a panic value, compared as net/http compares it
		if !aborted {
			g.metrics.panics.Inc()
			g.log.Error("panic while answering", "request_id", x.id(), "method", x.request.Method,
				"panic", fmt.Sprint(problem), "stack", string(debug.Stack()))
		}
		if !aborted && x.status == 0 {
			x.text, x.fields = x.text[:0], x.fields[:0]
			x.fail(x.request, errPanic)
			problem = nil
		}
	}
	if x.held > 0 {
		g.answerBytes.Add(-x.held)
	}
	took := time.Since(x.started)
	if x.streams {
		took = -1
	}
	g.metrics.count(x.request.Method, x.status, took, x.written)
	*x = exchange{text: x.text, fields: x.fields}
	exchanges.Put(x)
	if problem != nil {
		panic(http.ErrAbortHandler) // part of an answer is out: only cutting the connection tells the client
	}
}

// newServer is the http.Server around g, for connections from l.
func (g *Gateway) newServer(l *listener) *http.Server {
	c := &g.config
	return &http.Server{
		Handler:                      g,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            c.HeaderTimeout,
		IdleTimeout:                  c.IdleTimeout,
		// From the end of the request's header to the end of the answer: waiting for the body, the cluster, and a reader
		// that takes the largest value at the least rate.
		WriteTimeout:   c.MaxTimeout + 2*(c.BodyGrace+bodyTime(c.MaxValueBytes, c.BodyBytesPerSec)),
		MaxHeaderBytes: c.MaxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug), // of single connections: clients that go away
		ConnContext:    connContext,
		ConnState:      l.connState,
	}
}
