package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// maxControlBytes bounds the body of a request that is about the cluster.
const maxControlBytes = 64 << 10

// controlTimeout bounds what waits for a decision of the coordinators.
const controlTimeout = 5 * time.Second

// Control is what the gateway needs of the coordinators for operations and events. *client.Coordinators is one. Errors are
// *kverr.Error, or a context's.
type Control interface {
	StartOperation(ctx context.Context, req *kringv1.StartOperationRequest) (*kringv1.StartOperationResponse, error)
	ChangeOperation(ctx context.Context, req *kringv1.ChangeOperationRequest) (*kringv1.ChangeOperationResponse, error)
	ListOperations(ctx context.Context, req *kringv1.ListOperationsRequest) (*kringv1.ListOperationsResponse, error)
	SetRebalance(ctx context.Context, req *kringv1.SetRebalanceRequest) (*kringv1.SetRebalanceResponse, error)
	GetRebalance(ctx context.Context) (*kringv1.GetRebalanceResponse, error)
	// WatchEvents calls take until it fails, or ctx ends.
	WatchEvents(ctx context.Context, req *kringv1.WatchEventsRequest, take func(*kringv1.WatchEventsResponse) error) error
}

// operationRoutes adds what is about operations, moves and events.
func (g *Gateway) operationRoutes(mux *chi.Mux, get func(string, http.HandlerFunc)) {
	get("/v1/operations", g.handle(g.listOperations))
	mux.Post("/v1/operations", g.handle(g.postOperation))
	get("/v1/operations/{id}", g.handle(g.getOperation))
	for verb, state := range map[string]kringv1.OperationState{
		"pause":  kringv1.OperationState_OPERATION_STATE_PAUSED,
		"resume": kringv1.OperationState_OPERATION_STATE_RUNNING,
		"cancel": kringv1.OperationState_OPERATION_STATE_CANCELED,
	} {
		mux.Post("/v1/operations/{id}/"+verb, g.handle(func(x *exchange, r *http.Request) error {
			return g.changeOperation(x, r, state)
		}))
	}
	get("/v1/cluster/rebalance", g.handle(g.getRebalance))
	mux.Put("/v1/cluster/rebalance", g.handle(g.putRebalance))
	mux.Get("/v1/cluster/events", g.handle(g.getEvents))
}

// ask gives a context and the query for one call of the coordinators.
func (g *Gateway) ask(r *http.Request, parameters ...string) (context.Context, context.CancelFunc, *query, error) {
	q, err := parseQuery(r.URL.RawQuery, append(parameters, "timeout")...)
	if err != nil {
		return nil, nil, nil, err
	}
	timeout, err := g.timeoutOf(r, &q)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case g.config.Control == nil:
		return nil, nil, nil, kverr.New(kverr.Unavailable, "this gateway has no way to the coordinators")
	case timeout == 0:
		timeout = controlTimeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, &q, nil
}

// readControl reads a JSON body into a request. What it does not know is refused: overlooked, it would look like obeyed.
func (g *Gateway) readControl(x *exchange, r *http.Request, into any) error {
	body, release, err := g.readBody(x, r)
	defer release()
	if err != nil {
		return err
	}
	if len(body) > maxControlBytes {
		return kverr.Newf(kverr.BadRequest, "the body has %d bytes, at most %d", len(body), maxControlBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return kverr.New(kverr.BadRequest, "the body is empty: send JSON, such as {\"kind\":\"drain\",\"node\":\"n3\"}")
		}
		return kverr.Newf(kverr.BadRequest, "the body is not the JSON that this call takes: %v", err)
	}
	if decoder.More() {
		return kverr.New(kverr.BadRequest, "the body goes on after its JSON")
	}
	return nil
}

// refusedControl words the few codes that mean something else for keys.
func refusedControl(err error) error {
	if kverr.CodeOf(err) == kverr.NotFound {
		return &refusal{status: http.StatusNotFound, code: "not_found", title: "Not found", detail: kverr.As(err).Message}
	}
	return err
}

func (g *Gateway) postOperation(x *exchange, r *http.Request) error {
	ctx, cancel, q, err := g.ask(r, "dry_run")
	if err != nil {
		return err
	}
	defer cancel()
	dryRun, err := boolOf(q, "dry_run")
	if err != nil {
		return err
	}
	if err := checkIdempotencyKey(r.Header["Idempotency-Key"]); err != nil {
		return err
	}
	var body operationRequest
	if err := g.readControl(x, r, &body); err != nil {
		return err
	}
	op, err := body.proto()
	if err != nil {
		return err
	}
	resp, err := g.config.Control.StartOperation(ctx, &kringv1.StartOperationRequest{Operation: op, DryRun: dryRun, Token: x.token(r)})
	if err != nil {
		return refusedControl(err)
	}
	if dryRun {
		return x.sendJSON(viewPlan(resp.GetOperation(), resp.GetPlan()))
	}
	x.Header()["Location"] = []string{"/v1/operations/" + strconv.FormatUint(resp.GetOperation().GetId(), 10)}
	return x.sendJSONAs(http.StatusAccepted, viewOperation(resp.GetOperation()))
}

// token makes repeats of a request one operation: those of its sender, who gave an Idempotency-Key, or those of this gateway alone.
func (x *exchange) token(r *http.Request) string {
	key := "id " + string(x.gateway.appendRequestID(nil, x.number))
	if lines := r.Header["Idempotency-Key"]; len(lines) > 0 {
		key = "key " + lines[0]
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func boolOf(q *query, name string) (bool, error) {
	text, given := q.get(name)
	switch {
	case !given, text == "false":
		return false, nil
	case text == "true", text == "":
		return true, nil
	}
	return false, kverr.Newf(kverr.BadRequest, "%s must be true or false", name)
}

func (o *operationRequest) proto() (*kringv1.Operation, error) {
	op := &kringv1.Operation{
		NodeId: o.Node, OtherNodeId: o.By, Weight: o.Weight, Zone: o.Zone, NoZone: o.None, Replicas: o.Replicas, MinInSync: o.MinInSync,
	}
	names := make([]string, 0, len(operationKinds))
	for kind, name := range operationKinds {
		if name == o.Kind {
			op.Kind = kind
			return op, nil
		}
		if kind != kringv1.OperationKind_OPERATION_KIND_JOIN {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return nil, kverr.Newf(kverr.BadRequest, "kind %q is none: there are %s", o.Kind, strings.Join(names, ", "))
}

func (g *Gateway) listOperations(x *exchange, r *http.Request) error {
	ctx, cancel, _, err := g.ask(r)
	if err != nil {
		return err
	}
	defer cancel()
	resp, err := g.config.Control.ListOperations(ctx, &kringv1.ListOperationsRequest{})
	if err != nil {
		return err
	}
	v := operationsView{Operations: make([]operationView, len(resp.GetOperations()))}
	for i, p := range resp.GetOperations() {
		v.Operations[i] = viewProgress(p)
	}
	return x.sendJSON(v)
}

func operationID(r *http.Request) (uint64, error) {
	text := chi.URLParam(r, "id")
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, &refusal{
			status: http.StatusNotFound, code: "not_found", title: "Not found",
			detail: "operations have numbers; /v1/operations lists them",
		}
	}
	return id, nil
}

func (g *Gateway) getOperation(x *exchange, r *http.Request) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	ctx, cancel, _, err := g.ask(r)
	if err != nil {
		return err
	}
	defer cancel()
	resp, err := g.config.Control.ListOperations(ctx, &kringv1.ListOperationsRequest{Id: id})
	if err != nil {
		return refusedControl(err)
	}
	if len(resp.GetOperations()) != 1 {
		return kverr.Newf(kverr.Internal, "asked for operation %d, got %d", id, len(resp.GetOperations()))
	}
	return x.sendJSON(viewProgress(resp.GetOperations()[0]))
}

func (g *Gateway) changeOperation(x *exchange, r *http.Request, to kringv1.OperationState) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	ctx, cancel, _, err := g.ask(r)
	if err != nil {
		return err
	}
	defer cancel()
	resp, err := g.config.Control.ChangeOperation(ctx, &kringv1.ChangeOperationRequest{Id: id, State: to})
	if err != nil {
		return refusedControl(err)
	}
	return x.sendJSON(viewOperation(resp.GetOperation()))
}

func (g *Gateway) getRebalance(x *exchange, r *http.Request) error {
	ctx, cancel, _, err := g.ask(r)
	if err != nil {
		return err
	}
	defer cancel()
	resp, err := g.config.Control.GetRebalance(ctx)
	if err != nil {
		return err
	}
	return x.sendJSON(viewMoves(resp))
}

func (g *Gateway) putRebalance(x *exchange, r *http.Request) error {
	ctx, cancel, _, err := g.ask(r)
	if err != nil {
		return err
	}
	defer cancel()
	var settings rebalanceSettings
	if err := g.readControl(x, r, &settings); err != nil {
		return err
	}
	resp, err := g.config.Control.SetRebalance(ctx, &kringv1.SetRebalanceRequest{Rebalance: settings.proto()})
	if err != nil {
		return err
	}
	return x.sendJSON(viewRebalance(resp.GetRebalance()))
}
