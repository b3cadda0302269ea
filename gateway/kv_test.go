package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

func TestPutGetHeadDelete(t *testing.T) {
	h := start(t)
	big := bytes.Repeat([]byte{0, 1, 2, 255}, 1<<18) // 1 MiB: the largest by default
	for name, value := range map[string][]byte{"empty": {}, "binary": {0, 0xff, '\r', '\n'}, "big": big} {
		a := h.do(http.MethodPut, keyPrefix+name, value)
		require.Equal(t, 201, a.StatusCode, "%s: %s", name, a.body)
		require.Empty(t, a.body)
		etag := a.Header.Get("ETag")
		require.Regexp(t, `^"[1-9][0-9]*"$`, etag)
		require.Regexp(t, `^node;dur=[0-9]+\.[0-9]{3}, total;dur=[0-9]+\.[0-9]{3}$`, a.Header.Get("Server-Timing"))

		a = h.do(http.MethodGet, keyPrefix+name, nil)
		require.Equal(t, 200, a.StatusCode)
		require.Equal(t, value, append([]byte{}, a.body...), name)
		for header, want := range map[string]string{
			"ETag": etag, "Content-Type": "application/octet-stream", "Cache-Control": "no-cache", "Accept-Ranges": "bytes",
			"Content-Length": fmt.Sprint(len(value)), "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "sandbox", "Kring-Ttl": "",
		} {
			require.Equal(t, want, a.Header.Get(header), header)
		}
		require.NotEmpty(t, a.Header.Get("Kring-Epoch"))
		require.NotEmpty(t, a.Header.Get("Kring-Node"))
		require.NotEmpty(t, a.Header.Get("Request-Id"))

		head := h.do(http.MethodHead, keyPrefix+name, nil)
		require.Equal(t, 200, head.StatusCode)
		require.Equal(t, fmt.Sprint(len(value)), head.Header.Get("Content-Length"))
		require.Equal(t, etag, head.Header.Get("ETag"))
		require.Empty(t, head.body)

		a = h.do(http.MethodPut, keyPrefix+name, value)
		require.Equal(t, 204, a.StatusCode)
		require.NotEqual(t, etag, a.Header.Get("ETag"))
		for range 2 {
			require.Equal(t, 204, h.do(http.MethodDelete, keyPrefix+name, nil).StatusCode)
		}
		a = h.do(http.MethodGet, keyPrefix+name, nil)
		require.Equal(t, 404, a.StatusCode)
		require.Equal(t, "not_found", a.problem(t).Code)
		require.NotEmpty(t, a.Header.Get("Kring-Node"))
		require.Equal(t, 404, h.do(http.MethodHead, keyPrefix+name, nil).StatusCode)
	}
}

func TestChunkedPut(t *testing.T) {
	h := start(t)
	value := strings.Repeat("x", 100_001)
	var b strings.Builder
	fmt.Fprintf(&b, "PUT /v1/kv/c HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", h.address)
	for rest := value; rest != ""; {
		n := min(len(rest), 30_000)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	b.WriteString("0\r\n\r\n")
	require.Equal(t, 201, h.raw(http.MethodPut, b.String()).StatusCode)
	require.Equal(t, value, string(h.twin.values["c"].Value))

	empty := "PUT /v1/kv/e HTTP/1.1\r\nHost: " + h.address + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	require.Equal(t, 201, h.raw(http.MethodPut, empty).StatusCode)
	bad := "PUT /v1/kv/b HTTP/1.1\r\nHost: " + h.address + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
	require.Equal(t, 400, h.raw(http.MethodPut, bad).StatusCode)
	require.NotContains(t, h.twin.values, "b")
	require.Zero(t, h.gateway.bodyBytes.Load())
}

func TestConditions(t *testing.T) {
	h := start(t)
	for range 6 {
		h.twin.put("other", "", client.Attributes{})
	}
	const absent, present = "absent", "present" // present is at version 7
	for i, c := range []struct {
		method, key, headers string
		status               int
		etag                 string
	}{
		{"PUT", absent, `If-None-Match: *`, 201, `"8"`},
		{"PUT", present, `If-None-Match: *`, 412, `"7"`},
		{"PUT", absent, `If-Match: *`, 412, ``},
		{"PUT", present, `If-Match: *`, 204, `"8"`},
		{"PUT", present, `If-Match: "7"`, 204, `"8"`},
		{"PUT", present, `If-Match: "1", "7"`, 204, `"8"`},
		{"PUT", present, "If-Match: \"1\"\r\nIf-Match: \"7\"", 204, `"8"`},
		{"PUT", present, `If-Match: "1" ,, "2"`, 412, `"7"`},
		{"PUT", present, `If-Match: W/"7"`, 412, `"7"`},
		{"PUT", present, `If-Match: "07"`, 412, `"7"`},
		{"PUT", present, `If-Match: "abc"`, 412, `"7"`},
		{"PUT", absent, `If-Match: "7"`, 412, ``},
		{"PUT", present, `If-None-Match: "7"`, 412, `"7"`},
		{"PUT", present, `If-None-Match: W/"7"`, 412, `"7"`},
		{"PUT", present, `If-None-Match: "6"`, 204, `"8"`},
		{"PUT", absent, `If-None-Match: "7"`, 201, `"8"`},
		{"PUT", present, `If-Match: 7`, 400, ``},
		{"PUT", present, `If-Match: "7`, 400, ``},
		{"PUT", present, `If-Match: "7" "8"`, 400, ``},
		{"PUT", present, `If-Match:`, 400, ``},
		{"PUT", present, `If-Match: *, "7"`, 400, ``},
		{"PUT", present, `If-None-Match: seven`, 400, ``},
		{"DELETE", present, `If-Match: "7"`, 204, ``},
		{"DELETE", present, `If-Match: "6"`, 412, `"7"`},
		{"DELETE", absent, `If-Match: "6"`, 412, ``},
		{"DELETE", absent, `If-Match: *`, 412, ``},
		{"DELETE", present, `If-None-Match: *`, 412, `"7"`},
		{"DELETE", absent, `If-None-Match: *`, 204, ``},
		{"GET", present, `If-None-Match: "7"`, 304, `"7"`},
		{"GET", present, `If-None-Match: W/"7"`, 304, `"7"`},
		{"GET", present, `If-None-Match: "1", "7"`, 304, `"7"`},
		{"GET", present, `If-None-Match: *`, 304, `"7"`},
		{"GET", present, `If-None-Match: "8"`, 200, `"7"`},
		{"GET", absent, `If-None-Match: *`, 404, ``},
		{"GET", present, `If-Match: "7"`, 200, `"7"`},
		{"GET", present, `If-Match: *`, 200, `"7"`},
		{"GET", present, `If-Match: W/"7"`, 412, `"7"`},
		{"GET", present, `If-Match: "8"`, 412, `"7"`},
		{"GET", present, "If-Match: \"8\"\r\nIf-None-Match: \"7\"", 412, `"7"`},
		{"GET", absent, `If-Match: "8"`, 404, ``},
		{"HEAD", present, `If-None-Match: "7"`, 304, `"7"`},
		{"HEAD", present, `If-Match: "8"`, 412, `"7"`},
	} {
		h.twin.version = 6
		h.twin.put(present, "seven", client.Attributes{})
		delete(h.twin.values, absent)
		var body []byte
		if c.method == "PUT" {
			body = []byte("new")
		}
		a := h.do(c.method, keyPrefix+c.key, body, c.headers)
		require.Equal(t, c.status, a.StatusCode, "%d: %+v: %s", i, c, a.body)
		require.Equal(t, c.etag, a.Header.Get("ETag"), "%d: %+v", i, c)
		switch {
		case c.status == 304:
			require.Empty(t, a.body)
		case c.status >= 400 && c.method != "HEAD":
			require.Equal(t, kverr.OutcomeNone, a.problem(t).Outcome)
		}
		if c.status >= 300 {
			require.Equal(t, "seven", string(h.twin.values[present].Value))
			require.NotContains(t, h.twin.values, absent)
		}
	}
}

func TestAttributesComeBack(t *testing.T) {
	h := start(t)
	a := h.do(http.MethodPut, keyPrefix+"doc", []byte("<b>"), "Content-Type: text/html; charset=utf-8",
		"Content-Encoding: gzip", "kring-meta-owner: ann", "KRING-META-Two: a", "Kring-Meta-two: b", "Other: no")
	require.Equal(t, 201, a.StatusCode)
	kept := h.twin.values["doc"].Attributes
	require.Equal(t, client.Attributes{
		ContentType: "text/html; charset=utf-8", ContentEncoding: "gzip",
		Metadata: map[string]string{"owner": "ann", "two": "a, b"},
	}, kept)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		a = h.do(method, keyPrefix+"doc", nil)
		require.Equal(t, "text/html; charset=utf-8", a.Header.Get("Content-Type"))
		require.Equal(t, "gzip", a.Header.Get("Content-Encoding"))
		require.Equal(t, "ann", a.Header.Get("Kring-Meta-Owner"))
		require.Equal(t, "a, b", a.Header.Get("Kring-Meta-Two"))
		require.Empty(t, a.Header.Get("Other"))
		require.Equal(t, "sandbox", a.Header.Get("Content-Security-Policy"))
	}
	for _, bad := range []string{"Kring-Meta-Big: " + strings.Repeat("x", MaxAttributeBytes), "Kring-Meta-: x"} {
		a = h.do(http.MethodPut, keyPrefix+"doc2", []byte{}, bad)
		require.Equal(t, 400, a.StatusCode)
		require.Equal(t, "bad_request", a.problem(t).Code)
	}
	require.NotContains(t, h.twin.values, "doc2")

	// What another client kept cannot break the answer apart.
	h.twin.put("odd", "v", client.Attributes{
		ContentType: "a/b\r\nEvil: 1", Metadata: map[string]string{"x y": "1", "ok": "1\r\nEvil: 2", "": "3"},
	})
	a = h.do(http.MethodGet, keyPrefix+"odd", nil)
	require.Equal(t, 200, a.StatusCode)
	require.Empty(t, a.Header.Get("Evil"))
	require.Equal(t, "v", string(a.body))
}

func TestRanges(t *testing.T) {
	h := start(t)
	version := h.twin.put("r", "0123456789", client.Attributes{ContentType: "text/plain"})
	h.twin.put("empty", "", client.Attributes{})
	tag := fmt.Sprintf(`"%d"`, version)
	for _, c := range []struct {
		headers, body, contentRange string
		status                      int
	}{
		{"Range: bytes=2-4", "234", "bytes 2-4/10", 206},
		{"Range: bytes=7-", "789", "bytes 7-9/10", 206},
		{"Range: bytes=-3", "789", "bytes 7-9/10", 206},
		{"Range: bytes=-30", "0123456789", "bytes 0-9/10", 206},
		{"Range: bytes=0-99999999999999999999999", "0123456789", "bytes 0-9/10", 206},
		{"Range: bytes=9-9, 20-30", "9", "bytes 9-9/10", 206},
		{"Range: bytes=10-", "", "bytes */10", 416},
		{"Range: bytes=-0", "", "bytes */10", 416},
		{"Range: bytes=20-30,40-", "", "bytes */10", 416},
		{"Range: bytes=4-2", "0123456789", "", 200},
		{"Range: bytes=+1-2", "0123456789", "", 200},
		{"Range: bytes=x", "0123456789", "", 200},
		{"Range: bytes=", "0123456789", "", 200},
		{"Range: lines=1-2", "0123456789", "", 200},
		{"Range: bytes=1-2\r\nIf-Range: " + tag, "12", "bytes 1-2/10", 206},
		{"Range: bytes=1-2\r\nIf-Range: W/" + tag, "0123456789", "", 200},
		{"Range: bytes=1-2\r\nIf-Range: \"999\"", "0123456789", "", 200},
		{"Range: bytes=1-2\r\nIf-Range: Tue, 01 Jan 2030 00:00:00 GMT", "0123456789", "", 200},
		{"Range: bytes=1-2\r\nIf-None-Match: " + tag, "", "", 304},
		{"Range: bytes=0-8,1-9", "0123456789", "", 200},
	} {
		a := h.do(http.MethodGet, keyPrefix+"r", nil, c.headers)
		require.Equal(t, c.status, a.StatusCode, "%q: %s", c.headers, a.body)
		require.Equal(t, c.contentRange, a.Header.Get("Content-Range"), "%q", c.headers)
		if c.status == 416 {
			require.Equal(t, "range_not_satisfiable", a.problem(t).Code)
			continue
		}
		require.Equal(t, c.body, string(a.body), "%q", c.headers)
		require.Equal(t, tag, a.Header.Get("ETag"))
	}
	a := h.do(http.MethodGet, keyPrefix+"empty", nil, "Range: bytes=0-10")
	require.Equal(t, 200, a.StatusCode)
	a = h.do(http.MethodHead, keyPrefix+"r", nil, "Range: bytes=0-1")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "10", a.Header.Get("Content-Length"))

	a = h.do(http.MethodGet, keyPrefix+"r", nil, "Range: bytes=0-1,-2")
	require.Equal(t, 206, a.StatusCode)
	_, parameters, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	require.NoError(t, err)
	parts := multipart.NewReader(bytes.NewReader(a.body), parameters["boundary"])
	for _, want := range []string{"01", "89"} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		got, err := io.ReadAll(part)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		require.Equal(t, "text/plain", part.Header.Get("Content-Type"))
	}
	a = h.do(http.MethodPut, keyPrefix+"r", []byte("x"), "Content-Range: bytes 0-0/10")
	require.Equal(t, 400, a.StatusCode)
}

func TestErrorsOfTheCluster(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		err        error
		status     int
		code       string
		retryable  bool
		onWrite    kverr.Outcome
		retryAfter string
	}{
		{kverr.Retry(kverr.Busy, 1200*time.Millisecond, "queue full"), 503, "busy", true, kverr.OutcomeNone, "2"},
		{kverr.New(kverr.Unavailable, "primary away"), 503, "unavailable", true, kverr.OutcomeNone, "1"},
		{kverr.New(kverr.NotPrimary, "moved"), 503, "not_primary", true, kverr.OutcomeNone, "1"},
		{kverr.New(kverr.Deadline, "out of time"), 503, "deadline", true, kverr.OutcomeNone, "1"},
		{context.DeadlineExceeded, 503, "deadline", true, kverr.OutcomeNone, "1"},
		{kverr.New(kverr.OutcomeUnknown, "logged"), 504, "outcome_unknown", true, kverr.Unknown, ""},
		{kverr.New(kverr.DiskFull, "no room"), 507, "disk_full", false, kverr.OutcomeNone, ""},
		{kverr.New(kverr.Internal, "defect"), 500, "internal", false, kverr.Unknown, ""},
		{io.ErrNoProgress, 500, "internal", false, kverr.Unknown, ""},
		{kverr.New(kverr.Corrupt, "crc"), 500, "corrupt", false, kverr.Unknown, ""},
		{kverr.New(kverr.Conflict, "state"), 409, "conflict", false, kverr.OutcomeNone, ""},
		{kverr.New(kverr.KeyTooLong, ""), 414, "key_too_long", false, kverr.OutcomeNone, ""},
		{kverr.New(kverr.ValueTooLarge, ""), 413, "value_too_large", false, kverr.OutcomeNone, ""},
	} {
		h.twin.before = func(context.Context, string, []byte) error { return c.err }
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			a := h.do(method, keyPrefix+"k", nil, "X-Request-Id: abc-1")
			require.Equal(t, c.status, a.StatusCode, "%v", c.err)
			p := a.problem(t)
			require.Equal(t, []any{c.code, c.retryable, c.onWrite}, []any{p.Code, p.Retryable, p.Outcome})
			require.Equal(t, c.retryAfter, a.Header.Get("Retry-After"))
			require.Equal(t, "abc-1", p.RequestID)
			require.Equal(t, "abc-1", a.Header.Get("Request-Id"))
		}
		p := h.do(http.MethodGet, keyPrefix+"k", nil).problem(t)
		require.Equal(t, kverr.OutcomeNone, p.Outcome, "a read changes nothing")
		require.NotEqual(t, http.StatusGatewayTimeout, p.Status)
	}
}

// TestEveryCodeIsRendered keeps renderings whole as codes are added.
func TestEveryCodeIsRendered(t *testing.T) {
	for number, name := range kverrCodes() {
		if number == 0 {
			continue
		}
		look, ok := renderings[kverr.Code(number)]
		require.True(t, ok, name)
		require.NotEmpty(t, look.title)
		if look.status == http.StatusServiceUnavailable {
			require.Equal(t, kverr.OutcomeNone, kverr.OutcomeOf(kverr.Code(number)), name)
		}
		if look.status == http.StatusGatewayTimeout {
			require.Equal(t, kverr.Unknown, kverr.OutcomeOf(kverr.Code(number)), name)
		}
	}
}
