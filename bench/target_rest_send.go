package bench

import (
	"context"
	"net/http"

	"github.com/valyala/fasthttp"
)

// Request is a call of the REST interface for which Target has no method. Nothing in it is kept.
type Request struct {
	Method string // http.MethodGet and so on
	Key    []byte
	Query  string      // encoded, without the "?"; empty: none
	Header [][2]string // names and values
	Body   []byte
}

// Answer is what a gateway answered. Epoch and Node are empty, Version is 0 where it did not tell them.
type Answer struct {
	Status      int
	Version     uint64
	Epoch, Node string // the configuration under which the partition's primary answered, and its node
	Body        []byte // the caller's own
}

// Send sends one request, once. The answer is filled in also where there is an error, as far as there was an answer; errors are as
// Target has them.
func (t *REST) Send(ctx context.Context, r Request) (Answer, error) {
	var a Answer
	kind := OpGet
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		kind = OpPut
	}
	err := t.host().exchange(ctx, kind.Mutates(), func(c *restConn) {
		c.uri = appendPath(append(c.uri[:0], kvPath...), r.Key)
		if r.Query != "" {
			c.uri = append(append(c.uri, '?'), r.Query...)
		}
		c.request.Header.SetRequestURIBytes(c.uri)
		c.request.Header.SetMethod(r.Method)
		for _, h := range r.Header {
			c.request.Header.Set(h[0], h[1])
		}
		c.request.SetBodyRaw(r.Body)
	}, func(response *fasthttp.Response) error {
		a = Answer{
			Status: response.StatusCode(), Version: versionOf(response),
			Epoch: string(response.Header.Peek("Kring-Epoch")), Node: string(response.Header.Peek("Kring-Node")),
		}
		if a.Status/100 != 2 {
			return problem(response, kind)
		}
		a.Body = append([]byte{}, response.Body()...)
		return nil
	})
	return a, err
}
