package gateway

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/proto/kverr"
)

var awkwardKeys = []string{
	"a", "a//b", "/", "//", "a/", "..", ".", "../..", "a/../b", "a/./b", "%2e", "%252e", "%", "a%b", "\x00", "a\x00b",
	"\xff\xfe", "ключ/鍵/🔑", "{tag}x", "a b", "a+b", "a?b=c", "a#b", "a;b", "a:b", "http://x/y", "*", "\r\n", "\x7f", `\`, `"`,
	"kv-base64", "/v1/kv/x", strings.Repeat("k", MaxKeyBytes), strings.Repeat("\xff", MaxKeyBytes),
	strings.Repeat("/", MaxKeyBytes),
}

func TestKeysAreBytes(t *testing.T) {
	h := start(t)
	for i, key := range awkwardKeys {
		value := []byte{byte(i), 0, '\n', 0xff}
		escaped, encoded := keyPrefix+escape(key), keyBase64Prefix+encodeBase64([]byte(key))
		a := h.do(http.MethodPut, escaped, value)
		require.Equal(t, 201, a.StatusCode, "%q: %s", key, a.body)
		_, stored := h.twin.values[key]
		require.True(t, stored, "%q", key)
		for _, target := range []string{escaped, encoded, keyPrefix + url.PathEscape(key), "http://" + h.address + escaped} {
			a = h.do(http.MethodGet, target, nil)
			require.Equal(t, 200, a.StatusCode, "%q as %q", key, target)
			require.Equal(t, value, a.body, "%q as %q", key, target)
		}
		require.Equal(t, 204, h.do(http.MethodPut, encoded, value).StatusCode, "%q", key)
		require.Equal(t, 204, h.do(http.MethodDelete, encoded, nil).StatusCode, "%q", key)
		require.Equal(t, 404, h.do(http.MethodGet, escaped, nil).StatusCode, "%q", key)
	}
	require.Empty(t, h.twin.values)
}

// TestPathsAreTakenAsTheyAre sends what a client would have cleaned, escaped or followed.
func TestPathsAreTakenAsTheyAre(t *testing.T) {
	h := start(t)
	for sent, key := range map[string]string{
		"a//b": "a//b", "a/b": "a/b", "a%2fb": "a/b", "a%2Fb": "a/b", "..": "..", "../../livez": "../../livez", "./x": "./x",
		"%2e%2e": "..", "%252e": "%2e", "x/": "x/", "/": "/", "//": "//", "a+b": "a+b", "a%20b": "a b", "a#b": "a#b",
		"\xff\xfe": "\xff\xfe", "é": "é", "%00": "\x00", `a"b<c>`: `a"b<c>`, "{t}x": "{t}x", "a;b=c": "a;b=c", "a%3fb": "a?b",
		"%": "", "%zz": "", "%4": "",
	} {
		a := h.do(http.MethodPut, keyPrefix+sent, []byte("v"))
		if key == "" {
			require.Equal(t, 400, a.StatusCode, "%q", sent)
			require.Equal(t, "bad_request", a.problem(t).Code)
			continue
		}
		require.Equal(t, 201, a.StatusCode, "%q: %s", sent, a.body)
		_, stored := h.twin.values[key]
		require.True(t, stored, "%q", sent)
		clear(h.twin.values)
	}
}

func TestKeyErrors(t *testing.T) {
	h := start(t)
	long := strings.Repeat("k", MaxKeyBytes+1)
	for _, c := range []struct {
		target string
		status int
		code   string
	}{
		{keyPrefix, 400, "bad_request"},
		{keyBase64Prefix, 400, "bad_request"},
		{keyPrefix + long, 414, "key_too_long"},
		{keyPrefix + escape(long), 414, "key_too_long"},
		{keyBase64Prefix + encodeBase64([]byte(long)), 414, "key_too_long"},
		{keyBase64Prefix + "a", 400, "bad_request"},
		{keyBase64Prefix + "YQ=", 400, "bad_request"},
		{keyBase64Prefix + "YR", 400, "bad_request"},
		{keyBase64Prefix + "Y+8_", 400, "bad_request"},
		{keyBase64Prefix + "YWI%0AYw", 400, "bad_request"},
		{keyBase64Prefix + "YQ/YQ", 400, "bad_request"},
		{"/v1%2fkv/x", 404, "no_route"},
		{"/v1/k%76/x", 404, "no_route"},
		{"//v1/kv/x", 404, "no_route"},
		{"/v1//kv/x", 404, "no_route"},
		{"/v1/./kv/x", 404, "no_route"},
		{"/v1/kv", 404, "no_route"},
		{"/x", 404, "no_route"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			a := h.do(method, c.target, nil)
			require.Equal(t, c.status, a.StatusCode, "%s %.40s: %s", method, c.target, a.body)
			p := a.problem(t)
			require.Equal(t, c.code, p.Code)
			require.Equal(t, kverr.OutcomeNone, p.Outcome)
		}
		require.Equal(t, c.status, h.do(http.MethodHead, c.target, nil).StatusCode)
	}
	for _, padded := range []string{"YQ==", "YQ", "YQ%3D%3D"} {
		require.Equal(t, 404, h.do(http.MethodGet, keyBase64Prefix+padded, nil).StatusCode)
	}
}

// TestNetHTTPRefusals covers what net/http turns down before the handler.
func TestNetHTTPRefusals(t *testing.T) {
	h := start(t)
	for request, want := range map[string]struct {
		status int
		code   string
	}{
		"GET /v1/kv/%zz HTTP/1.1\r\nHost: " + h.address + "\r\n\r\n":                                         {400, "bad_request"},
		"GET /v1/kv/a b HTTP/1.1\r\nHost: " + h.address + "\r\n\r\n":                                         {400, "bad_request"},
		"GET /v1/kv/a HTTP/1.1\r\n\r\n":                                                                      {400, "bad_request"},
		"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                                {400, "bad_request"},
		"PUT /v1/kv/a HTTP/1.1\r\nHost: " + h.address + "\r\nTransfer-Encoding: gzip\r\n\r\n":                {501, "not_implemented"},
		"GET /v1/kv/a HTTP/1.1\r\nHost: " + h.address + "\r\nX: " + strings.Repeat("x", 60<<10) + "\r\n\r\n": {431, "header_too_large"},
	} {
		a := h.raw(http.MethodGet, request)
		require.Equal(t, want.status, a.StatusCode, "%.60q", request)
		p := a.problem(t)
		require.Equal(t, want.code, p.Code)
		require.Equal(t, kverr.OutcomeNone, p.Outcome)
		require.True(t, a.Close)
	}
}

// TestValueLikeARefusal makes sure that values which read like net/http's own refusals arrive as they are.
func TestValueLikeARefusal(t *testing.T) {
	h := start(t)
	fake := "HTTP/1.1 400 Bad Request" + refusalHeaders + "400 Bad Request"
	value := strings.Repeat(fake, 20_000)
	h.twin.put("fake", value, clientAttributes("text/plain"))
	c := h.dial()
	defer c.Close()
	for range 3 {
		_, err := c.Write([]byte("GET /v1/kv/fake HTTP/1.1\r\nHost: x.localhost\r\n\r\n"))
		require.NoError(t, err)
		a := h.readAnswer(newReader(c), http.MethodGet)
		require.Equal(t, value, string(a.body))
	}
}

func FuzzKeyFromPath(f *testing.F) {
	for _, key := range awkwardKeys {
		f.Add(keyPrefix+url.PathEscape(key), []byte(key))
		f.Add(keyBase64Prefix+encodeBase64([]byte(key)), []byte(key))
	}
	f.Add("//v1/kv/x", []byte("x"))
	f.Fuzz(func(t *testing.T, target string, key []byte) {
		// Whatever was sent either is refused or means what unescaping it once says.
		if u, err := url.ParseRequestURI(target); err == nil && strings.HasPrefix(target, keyPrefix) {
			path, _, _ := strings.Cut(target, "?")
			want, err := url.PathUnescape(path[len(keyPrefix):])
			require.NoError(t, err)
			got, err := keyFromPath(u)
			if len(want) >= 1 && len(want) <= MaxKeyBytes {
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			} else {
				require.Error(t, err)
			}
		} else if err == nil {
			_, _ = keyFromPath(u) // must only not panic
		}
		// Every key has a path by both routes.
		if len(key) == 0 || len(key) > MaxKeyBytes {
			return
		}
		for _, path := range []string{keyPrefix + escape(string(key)), keyBase64Prefix + encodeBase64(key)} {
			u, err := url.ParseRequestURI(path)
			require.NoError(t, err)
			got, err := keyFromPath(u)
			require.NoError(t, err)
			require.True(t, bytes.Equal(key, got))
		}
	})
}
