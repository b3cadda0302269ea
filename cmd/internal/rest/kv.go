package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Answer is what a call about one key gives.
type Answer struct {
	Version     string // of the key; of the deletion for Delete, where one was logged
	Created     bool   // Put: the key was absent before
	ContentType string
	Epoch, Node string // who served it
	Size        int64  // Get: bytes of the value
	Body        io.ReadCloser
}

// PutOptions change a Put; the zero value changes nothing.
type PutOptions struct {
	IfVersion   *uint64 // only over this version; 0: only if absent
	ContentType string  // empty: none
}

// Put stores value under key.
func (c *Client) Put(ctx context.Context, key, value []byte, o PutOptions) (Answer, error) {
	r := Request{Method: http.MethodPut, Path: KeyPath(key), Header: condition(o.IfVersion), Body: value}
	if value == nil {
		r.Body = []byte{}
	}
	if o.ContentType != "" {
		r.Header.Set("Content-Type", o.ContentType)
	}
	return c.finish(ctx, r)
}

// Delete removes key. An absent key is no error.
func (c *Client) Delete(ctx context.Context, key []byte, ifVersion *uint64) (Answer, error) {
	return c.finish(ctx, Request{Method: http.MethodDelete, Path: KeyPath(key), Header: condition(ifVersion)})
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

func (c *Client) finish(ctx context.Context, r Request) (Answer, error) {
	response, err := c.Do(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	// The status and headers are the answer; the body of a success has nothing to say.
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxProblemBytes)); err != nil {
		return Answer{}, fmt.Errorf("answer of %s: %w", response.Request.URL, err)
	}
	return answerOf(response), nil
}

func answerOf(response *http.Response) Answer {
	return Answer{
		Version:     Version(response.Header.Get("ETag")),
		Created:     response.StatusCode == http.StatusCreated,
		ContentType: response.Header.Get("Content-Type"),
		Epoch:       response.Header.Get("Kring-Epoch"),
		Node:        response.Header.Get("Kring-Node"),
		Size:        response.ContentLength,
	}
}

// Version is the version that an ETag names.
func Version(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }

func condition(ifVersion *uint64) http.Header {
	h := make(http.Header)
	switch {
	case ifVersion == nil:
	case *ifVersion == 0:
		h.Set("If-None-Match", "*")
	default:
		h.Set("If-Match", fmt.Sprintf(`"%d"`, *ifVersion))
	}
	return h
}
