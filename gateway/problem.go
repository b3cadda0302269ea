package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// problemTypes is where each code is explained; a problem's type is this plus its code.
const problemTypes = "https://github.com/kringdb/kring/blob/main/docs/api.md#error-"

// problem is the body of every error: RFC 9457 with our members.
type problem struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail,omitempty"`
	Code      string        `json:"code"`
	Retryable bool          `json:"retryable"`
	Outcome   kverr.Outcome `json:"outcome"`
	RequestID string        `json:"request_id,omitempty"`
}

// refusal is an error of HTTP itself, which no other component has a code for. Nothing has been logged.
type refusal struct {
	status        int
	code          string // published
	title, detail string
	retryable     bool
	close         bool // the connection cannot be used again
}

func (e *refusal) Error() string { return e.code + ": " + e.detail }

var (
	errBusy = kverr.Retry(kverr.Busy, time.Second, "this gateway has as many requests in flight as it takes")
	// errPanic is outcome unknown: the panic may have come after the mutation was sent.
	errPanic    = kverr.New(kverr.Internal, "a defect in the gateway; its log has the details under this request id")
	errSlowBody = &refusal{
		status: http.StatusRequestTimeout, code: "slow_body", title: "Request body too slow",
		detail: "the body did not arrive at the least rate asked for; nothing was written", retryable: true, close: true,
	}
)

// rendering is how a kverr code looks in HTTP.
type rendering struct {
	status int
	title  string
}

// renderings has every kverr code. 503 is always outcome none and 504 always outcome unknown.
var renderings = map[kverr.Code]rendering{
	kverr.Internal:            {http.StatusInternalServerError, "Internal error"},
	kverr.BadRequest:          {http.StatusBadRequest, "Bad request"},
	kverr.NotFound:            {http.StatusNotFound, "No such key"},
	kverr.PreconditionFailed:  {http.StatusPreconditionFailed, "Precondition failed"},
	kverr.KeyTooLong:          {http.StatusRequestURITooLong, "Key too long"},
	kverr.ValueTooLarge:       {http.StatusRequestEntityTooLarge, "Value too large"},
	kverr.NotPrimary:          {http.StatusServiceUnavailable, "Partition is moving"},
	kverr.Busy:                {http.StatusServiceUnavailable, "Busy"},
	kverr.Unavailable:         {http.StatusServiceUnavailable, "Unavailable"},
	kverr.OutcomeUnknown:      {http.StatusGatewayTimeout, "Outcome unknown"},
	kverr.Deadline:            {http.StatusServiceUnavailable, "Out of time"},
	kverr.DiskFull:            {http.StatusInsufficientStorage, "Disk full"},
	kverr.WrongCluster:        {http.StatusServiceUnavailable, "Wrong cluster"},
	kverr.WrongStore:          {http.StatusServiceUnavailable, "Wrong store"},
	kverr.NotLeader:           {http.StatusServiceUnavailable, "No leader"},
	kverr.StaleEpoch:          {http.StatusConflict, "Stale epoch"},
	kverr.RequestTooOld:       {http.StatusServiceUnavailable, "Request too old"},
	kverr.IdempotencyMismatch: {http.StatusUnprocessableEntity, "Idempotency key used for another request"},
	kverr.NotANumber:          {http.StatusConflict, "Not a number"},
	kverr.Conflict:            {http.StatusConflict, "Conflict"},
	kverr.Corrupt:             {http.StatusInternalServerError, "Corrupt data"},
	kverr.Canceled:            {statusClientGone, "Client went away"},
}

// statusClientGone is never read by anybody: the client hung up. It keeps such requests apart in the metrics.
const statusClientGone = 499

// fail renders err. It is the only place that does.
func (x *exchange) fail(r *http.Request, err error) {
	if x.status != 0 { // an answer has begun: only cutting the connection tells the client that it is not whole
		panic(http.ErrAbortHandler)
	}
	var p problem
	var refused *refusal
	if errors.As(err, &refused) {
		p = problem{
			Title: refused.title, Status: refused.status, Detail: refused.detail, Code: refused.code,
			Retryable: refused.retryable, Outcome: kverr.OutcomeNone,
		}
		if refused.close {
			x.Header()["Connection"] = valuesClose
		}
	} else {
		p = x.problemOf(r, kverr.As(err))
	}
	p.Type = problemTypes + p.Code
	p.RequestID = x.id()
	x.writeProblem(&p)
}

func (x *exchange) problemOf(r *http.Request, e *kverr.Error) problem {
	look, ok := renderings[e.Code]
	if !ok {
		look = renderings[kverr.Internal]
	}
	p := problem{
		Title: look.title, Status: look.status, Detail: e.Message, Code: kverr.Name(e.Code),
		Retryable: kverr.Retryable(e.Code), Outcome: kverr.OutcomeOf(e.Code),
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		p.Outcome = kverr.OutcomeNone
		if e.Code == kverr.OutcomeUnknown { // of a read nothing can be unknown but its answer
			p.Status = http.StatusServiceUnavailable
		}
	}
	switch {
	case e.Code == kverr.NotFound && e.Message == "":
		p.Detail = "the key does not exist"
	case e.Code == kverr.PreconditionFailed && e.Version == 0:
		p.Detail = "the key does not exist"
	case e.Code == kverr.PreconditionFailed:
		x.appendETag(e.Version)
		p.Detail = "the current version is " + strconv.FormatUint(e.Version, 10)
	case e.Code == kverr.ValueTooLarge:
		x.Header()["Connection"] = valuesClose // a body may be under way that nobody reads
	case p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || e.RetryAfter > 0:
		p.Retryable = p.Retryable || e.RetryAfter > 0
		x.text = strconv.AppendInt(x.text, retryAfterSeconds(e.RetryAfter), 10)
		x.field("Retry-After")
	case p.Status == http.StatusInternalServerError:
		x.gateway.log.Error("answered with an error", "request_id", x.id(), "method", r.Method, "error", e)
	}
	return p
}

// retryAfterSeconds rounds up to whole seconds, at least one.
func retryAfterSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}

var valuesProblem = []string{"application/problem+json"}

func (x *exchange) writeProblem(p *problem) {
	body, err := json.Marshal(p)
	if err != nil { // strings, numbers and booleans always encode
		panic(err)
	}
	body = append(body, '\n')
	header := x.Header()
	delete(header, "Content-Security-Policy")
	header["Content-Type"] = valuesProblem
	header["Cache-Control"] = valuesNoCache
	x.text = strconv.AppendInt(x.text, int64(len(body)), 10)
	x.field("Content-Length")
	x.WriteHeader(p.Status)
	x.send(body)
}

// send writes a body whose header is out. If it fails the client has gone, and net/http has noted that the connection is
// no longer usable: there is nobody left to tell.
func (x *exchange) send(body []byte) {
	if _, err := x.Write(body); err != nil {
		x.gateway.metrics.unsent.Inc()
	}
}
