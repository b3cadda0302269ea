package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Answer is what a call about one key gives.
type Answer struct {
	Version     string // of the key; of the deletion for Delete, where one was logged
	Created     bool   // Put: the key was absent before
	ContentType string
	Epoch, Node string // who served it
	TTL         string // Get: whole seconds until it expires; empty: never
	Replayed    bool   // mutations: this is the answer to an earlier request with the same idempotency key
	Size        int64  // Get: bytes of the value
	Body        io.ReadCloser
}

// Mutation is what Put, Delete and Incr share; the zero value asks for nothing.
type Mutation struct {
	IfVersion *uint64 // only at this version; 0: only if absent
	// IdempotencyKey has the gateways carry it out once however often it is sent; empty: none.
	IdempotencyKey string
}

func (m *Mutation) header() http.Header {
	h := make(http.Header)
	switch {
	case m.IfVersion == nil:
	case *m.IfVersion == 0:
		h.Set("If-None-Match", "*")
	default:
		h.Set("If-Match", fmt.Sprintf(`"%d"`, *m.IfVersion))
	}
	if m.IdempotencyKey != "" {
		h.Set(idempotencyKey, m.IdempotencyKey)
	}
	return h
}

const idempotencyKey = "Idempotency-Key"

// PutOptions change a Put; the zero value changes nothing.
type PutOptions struct {
	Mutation
	ContentType string        // empty: none
	TTL         time.Duration // 0: for good
}

// Put stores value under key.
func (c *Client) Put(ctx context.Context, key, value []byte, o PutOptions) (Answer, error) {
	r := Request{Method: http.MethodPut, Path: KeyPath(key), Header: o.header(), Body: value}
	if value == nil {
		r.Body = []byte{}
	}
	if o.ContentType != "" {
		r.Header.Set("Content-Type", o.ContentType)
	}
	if o.TTL != 0 {
		r.Query = url.Values{"ttl": {o.TTL.String()}}
	}
	answer, _, err := c.finish(ctx, r)
	return answer, err
}

// Delete removes key, as m asks if it is not nil. An absent key is no error.
func (c *Client) Delete(ctx context.Context, key []byte, m *Mutation) (Answer, error) {
	if m == nil {
		m = &Mutation{}
	}
	answer, _, err := c.finish(ctx, Request{Method: http.MethodDelete, Path: KeyPath(key), Header: m.header()})
	return answer, err
}

// Incr adds delta to the number that key holds, and gives the new one.
func (c *Client) Incr(ctx context.Context, key []byte, delta int64, m Mutation) (int64, Answer, error) {
	answer, body, err := c.finish(ctx, Request{
		Method: http.MethodPost, Path: KeyPath(key), Query: url.Values{"incr": {strconv.FormatInt(delta, 10)}}, Header: m.header(),
	})
	if err != nil {
		return 0, Answer{}, err
	}
	number, err := strconv.ParseInt(string(body), 10, 64)
	if err != nil {
		return 0, answer, fmt.Errorf("the gateway answered %q and not a number: is it a Kring gateway?", body)
	}
	return number, answer, nil
}

// Get opens the value of key; the caller closes Answer.Body.
func (c *Client) Get(ctx context.Context, key []byte) (Answer, error) {
	response, err := c.Do(ctx, Request{Method: http.MethodGet, Path: KeyPath(key)}) //nolint:bodyclose // the caller's
	if err != nil {
		return Answer{}, err
	}
	a := answerOf(response)
	a.Body = response.Body
	return a, nil
}

// finish reads an answer to its end, as far as anything short goes.
func (c *Client) finish(ctx context.Context, r Request) (Answer, []byte, error) {
	response, err := c.Do(ctx, r)
	if err != nil {
		return Answer{}, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	if err != nil {
		return Answer{}, nil, fmt.Errorf("answer of %s: %w", response.Request.URL, err)
	}
	return answerOf(response), body, nil
}

func answerOf(response *http.Response) Answer {
	return Answer{
		Version:     Version(response.Header.Get("ETag")),
		Created:     response.StatusCode == http.StatusCreated,
		ContentType: response.Header.Get("Content-Type"),
		Epoch:       response.Header.Get("Kring-Epoch"),
		Node:        response.Header.Get("Kring-Node"),
		TTL:         response.Header.Get("Kring-TTL"),
		Replayed:    response.Header.Get("Idempotency-Replayed") == "true",
		Size:        response.ContentLength,
	}
}

// Version is the version that an ETag names.
func Version(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }
