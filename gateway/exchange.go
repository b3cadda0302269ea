package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// exchange is one request being answered. It is the http.ResponseWriter that handlers get, and is pooled: nothing may
// keep it after ServeHTTP returns.
//
// Header values that differ from answer to answer are appended to text one after the other (field ends each), so that all
// of them cost one string and one slice.
type exchange struct {
	http.ResponseWriter
	gateway *Gateway
	request *http.Request
	started time.Time

	status    int
	written   int64
	waits     time.Time     // since when the client waits for nobody but us: the header is here, or the body
	node      time.Duration // spent in client calls; 0: none made
	requestID string        // as the client gave it; empty: mint number
	number    uint64
	body      bodyState
	held      int64 // of Gateway.answerBytes
	streams   bool  // lasts as long as the client wants: its time says nothing

	text   []byte
	fields []field
}

type field struct {
	name string
	end  int // of its value in exchange.text
}

var exchanges = sync.Pool{New: func() any {
	return &exchange{text: make([]byte, 0, 256), fields: make([]field, 0, 8)}
}}

// field ends the header value that has been appended to x.text. The name must be canonical.
func (x *exchange) field(name string) { x.fields = append(x.fields, field{name, len(x.text)}) }

var (
	valuesNoSniff = []string{"nosniff"}
	valuesJSON    = []string{"application/json"}
	valuesClose   = []string{"close"}
)

// WriteHeader adds what every answer carries.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	if status < 200 {
		x.ResponseWriter.WriteHeader(status)
		return
	}
	x.status = status
	header := x.Header()
	if x.body != bodyDone {
		x.leaveBody(header)
	}
	header["X-Content-Type-Options"] = valuesNoSniff
	if x.requestID != "" {
		x.text = append(x.text, x.requestID...)
	} else {
		x.text = x.gateway.appendRequestID(x.text, x.number)
	}
	x.field("Request-Id")
	if x.node > 0 {
		x.text = append(x.text, "node;dur="...)
		x.text = appendMillis(x.text, x.node)
		x.text = append(x.text, ", "...)
	}
	x.text = append(x.text, "total;dur="...)
	now := time.Now()
	x.text = appendMillis(x.text, now.Sub(x.started))
	x.field("Server-Timing")
	if x.node > 0 {
		x.gateway.latencies.record(x.number, now.Sub(x.waits))
	}

	text, values, from := string(x.text), make([]string, len(x.fields)), 0
	for i, f := range x.fields {
		values[i] = text[from:f.end]
		header[f.name] = values[i : i+1 : i+1]
		from = f.end
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write counts, and implies 200 as net/http does.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(p)
	x.written += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// id is the request's id.
func (x *exchange) id() string {
	if x.requestID == "" {
		x.requestID = string(x.gateway.appendRequestID(nil, x.number))
	}
	return x.requestID
}

// appendRequestID mints an id: random for this process, then counted.
func (g *Gateway) appendRequestID(b []byte, number uint64) []byte {
	b = append(b, g.idPrefix...)
	return strconv.AppendUint(b, number, 36)
}

// appendMillis appends d in milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	micros := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, micros/1000, 10)
	rest := micros % 1000
	return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}

const maxRequestIDBytes = 128

// incomingRequestID is the id that the client gave, if it is one that can be logged and returned as it is.
func incomingRequestID(h http.Header) string {
	lines := h["X-Request-Id"]
	if lines == nil {
		lines = h["Request-Id"]
	}
	if len(lines) != 1 || lines[0] == "" || len(lines[0]) > maxRequestIDBytes {
		return ""
	}
	for i := range len(lines[0]) {
		c := lines[0][i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("-_.:/+=@|~", rune(c)) {
			return ""
		}
	}
	return lines[0]
}
