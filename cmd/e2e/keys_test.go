package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/topology"
)

// weird is a key with the paths that name it, after /v1/kv/, exactly as they are sent.
type weird struct {
	name, key string
	paths     []string
}

func weirdKeys() []weird {
	long := strings.Repeat("k", 4096)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return []weird{
		{"plain", "plain", []string{"plain", "%70lain"}},
		{"double slash", "a//b", []string{"a//b", "a%2f%2Fb"}},
		{"slash", "a/b", []string{"a/b", "a%2fb"}},
		{"leading slash", "/a", []string{"/a", "%2Fa"}},
		{"only slashes", "//", []string{"//"}},
		{"dot dot", "..", []string{"..", "%2e%2e", ".%2E"}},
		{"dot", ".", []string{".", "%2e"}},
		{"up and down", "a/../b/./c", []string{"a/../b/./c"}},
		{"escaped escape", "%2e", []string{"%252e"}},
		{"percent", "100%", []string{"100%25"}},
		{"zero byte", "a\x00b", []string{"a%00b"}},
		{"no UTF-8", "\xff\xfe", []string{"%FF%fe"}},
		{"every byte", string(every), nil},
		{"4 KiB", long, []string{long}},
		{"unicode", "Schlüssel/鍵/🔑", []string{"Schl%C3%BCssel/%E9%8D%B5/%F0%9F%94%91"}},
		{"trailing slash", "dir/", []string{"dir/", "dir%2f"}},
		{"hash tag", "{tag}x", []string{"%7Btag%7Dx"}},
		{"empty hash tag", "{}x", []string{"%7b%7dx"}},
		{"question mark and fragment", "a?b#c", []string{"a%3Fb%23c"}},
		{"plus and space", "a+b c", []string{"a+b%20c"}},
		{"semicolon and comma", "a;b,c=d&e", []string{"a;b,c=d&e"}},
		{"colon", "a:b@c", []string{"a:b@c"}},
		{"line breaks", "a\r\nb\n", []string{"a%0D%0Ab%0a"}},
		{"a command's name", "v1/kv/x", []string{"v1/kv/x"}},
	}
}

// allPaths are all the ways to name a key: as listed, fully escaped, and in base64.
func (w weird) allPaths() []string {
	var escaped strings.Builder
	for _, b := range []byte(w.key) {
		fmt.Fprintf(&escaped, "%%%02X", b)
	}
	paths := []string{
		"/v1/kv/" + escaped.String(),
		"/v1/kv-base64/" + base64.RawURLEncoding.EncodeToString([]byte(w.key)),
		"/v1/kv-base64/" + base64.URLEncoding.EncodeToString([]byte(w.key)),
	}
	for _, p := range w.paths {
		paths = append(paths, "/v1/kv/"+p)
	}
	return paths
}

var plainHTTP = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call sends one request and reads the answer whole.
func call(t *testing.T, method, url string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := plainHTTP.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, answer
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

func TestOneProcess(t *testing.T) {
	skipIfShort(t)
	f := startInProcess(t, topology.Request{Coordinators: 1, Nodes: 3, Gateways: 1})
	t.Run("values", func(t *testing.T) { testValues(t, f) })
	t.Run("keys", func(t *testing.T) { testKeys(t, f) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, f) })
	t.Run("bad escapes", func(t *testing.T) { testBadEscapes(t, f) })
	t.Run("wrong methods", func(t *testing.T) { testWrongMethods(t, f) })
	t.Run("a large value of untold length", func(t *testing.T) { testLargeChunked(t, f) })
	t.Run("targets", func(t *testing.T) { testTargets(t, f) })
	t.Run("a node crashes and returns", func(t *testing.T) {
		require.NoError(t, f.Kill("n2"))
		require.NoError(t, f.Start("n2"))
		f.waitHealthy(t)
		response, body := call(t, http.MethodGet, f.bases[0]+"/v1/kv/plain", nil)
		require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	})
}

func testValues(t *testing.T, f *fixture) {
	for name, value := range map[string][]byte{
		"text": []byte("hello"), "binary": random(t, 3000), "empty": {}, "zero bytes": make([]byte, 100), "1 MiB": random(t, 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			url := f.bases[0] + "/v1/kv/values/" + strings.ReplaceAll(name, " ", "-")
			response, body := call(t, http.MethodPut, url, value, "Content-Type", "image/x-test")
			require.Equal(t, http.StatusCreated, response.StatusCode, "%s", body)
			tag := response.Header.Get("ETag")
			require.NotEmpty(t, tag)

			response, body = call(t, http.MethodGet, url, nil)
			require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
			require.True(t, bytes.Equal(value, body), "got %d bytes, wrote %d", len(body), len(value))
			require.Equal(t, tag, response.Header.Get("ETag"))
			require.Equal(t, "image/x-test", response.Header.Get("Content-Type"))
			require.NotEmpty(t, response.Header.Get("Kring-Epoch"))
			require.NotEmpty(t, response.Header.Get("Kring-Node"))

			response, body = call(t, http.MethodHead, url, nil)
			require.Equal(t, http.StatusOK, response.StatusCode)
			require.Empty(t, body)
			require.EqualValues(t, len(value), response.ContentLength)

			response, body = call(t, http.MethodPut, url, value, "If-Match", tag)
			require.Equal(t, http.StatusNoContent, response.StatusCode, "%s", body)
			response, _ = call(t, http.MethodPut, url, value, "If-Match", tag)
			require.Equal(t, http.StatusPreconditionFailed, response.StatusCode)
			require.NotEqual(t, tag, response.Header.Get("ETag"), "412 carries the current version")

			response, body = call(t, http.MethodDelete, url, nil)
			require.Equal(t, http.StatusNoContent, response.StatusCode, "%s", body)
			response, _ = call(t, http.MethodGet, url, nil)
			require.Equal(t, http.StatusNotFound, response.StatusCode)
			response, _ = call(t, http.MethodDelete, url, nil)
			require.Equal(t, http.StatusNoContent, response.StatusCode, "deleting what is absent")
		})
	}
}

func testKeys(t *testing.T, f *fixture) {
	keys := weirdKeys()
	for i, k := range keys {
		paths := k.allPaths()
		response, body := call(t, http.MethodPut, f.bases[0]+paths[i%len(paths)], []byte(k.name))
		require.Equal(t, http.StatusCreated, response.StatusCode, "%s: %s", k.name, body)
	}
	// All are there, under every one of their names, and none took another's place.
	for _, k := range keys {
		for _, path := range k.allPaths() {
			response, body := call(t, http.MethodGet, f.bases[0]+path, nil)
			require.Equal(t, http.StatusOK, response.StatusCode, "%s: GET %.80s: %s", k.name, path, body)
			require.Equal(t, k.name, string(body), "GET %.80s", path)
		}
	}
}

func testRefusals(t *testing.T, f *fixture) {
	base := f.bases[0]
	tests := []struct {
		name, method, path string
		body               []byte
		status             int
		code               string
	}{
		{"empty key", http.MethodPut, "/v1/kv/", []byte("x"), http.StatusBadRequest, "bad_request"},
		{"empty key in base64", http.MethodGet, "/v1/kv-base64/", nil, http.StatusBadRequest, "bad_request"},
		{"empty key, PUT in base64", http.MethodPut, "/v1/kv-base64/", []byte("x"), http.StatusBadRequest, "bad_request"},
		{"empty key, DELETE", http.MethodDelete, "/v1/kv/", nil, http.StatusBadRequest, "bad_request"},
		{
			"4,097 bytes in base64", http.MethodPut, "/v1/kv-base64/" + base64.RawURLEncoding.EncodeToString(make([]byte, 4097)),
			[]byte("x"), http.StatusRequestURITooLong, "key_too_long",
		},
		{"4,097 bytes, escaped", http.MethodGet, "/v1/kv/" + strings.Repeat("%6b", 4097), nil, http.StatusRequestURITooLong, "key_too_long"},
		{"no base64", http.MethodGet, "/v1/kv-base64/a*b", nil, http.StatusBadRequest, "bad_request"},
		{"4,097 bytes", http.MethodPut, "/v1/kv/" + strings.Repeat("k", 4097), []byte("x"), http.StatusRequestURITooLong, "key_too_long"},
		{"large value", http.MethodPut, "/v1/kv/large", make([]byte, 1<<20+1), http.StatusRequestEntityTooLarge, "value_too_large"},
		{"large value, key in base64", http.MethodPut, "/v1/kv-base64/eA", make([]byte, 1<<20+1), http.StatusRequestEntityTooLarge, "value_too_large"},
		{"absent", http.MethodGet, "/v1/kv/absent", nil, http.StatusNotFound, "not_found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, body := call(t, test.method, base+test.path, test.body)
			require.Equal(t, test.status, response.StatusCode, "%s", body)
			require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
			var problem struct{ Code, Outcome string }
			require.NoError(t, json.Unmarshal(body, &problem))
			require.Equal(t, test.code, problem.Code)
			require.Equal(t, "none", problem.Outcome)
		})
	}
}

func testWrongMethods(t *testing.T, f *fixture) {
	for path, allowed := range map[string][]string{
		"/v1/kv/x":         {http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost},
		"/v1/kv-base64/eA": {http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost},
		"/v1/cluster":      {http.MethodGet},
	} {
		for _, method := range []string{http.MethodPatch, http.MethodPost} {
			if slices.Contains(allowed, method) {
				continue
			}
			response, body := call(t, method, f.bases[0]+path, nil)
			require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, "%s %s: %s", method, path, body)
			require.Contains(t, string(body), "method_not_allowed")
			got := strings.Split(response.Header.Get("Allow"), ", ")
			require.Subset(t, got, allowed, "%s %s", method, path)
			require.NotContains(t, got, method)
		}
	}
}

// The gateway learns only while it reads that such a value is too large.
func testLargeChunked(t *testing.T, f *fixture) {
	url := f.bases[0] + "/v1/kv/large-chunked"
	body := struct{ io.Reader }{bytes.NewReader(make([]byte, 1<<20+1))} // its length is hidden
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, body)
	require.NoError(t, err)
	response, err := plainHTTP.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
	response, _ = call(t, http.MethodGet, url, nil)
	require.Equal(t, http.StatusNotFound, response.StatusCode, "nothing of it is kept")
}

// Clients refuse to send these; a socket does not.
func testBadEscapes(t *testing.T, f *fixture) {
	address := strings.TrimPrefix(f.bases[0], "http://")
	for _, line := range []string{
		"GET /v1/kv/%zz", "GET /v1/kv/%", "GET /v1/kv/a%2", "PUT /v1/kv/%g0", "DELETE /v1/kv/%2", "GET /v1/kv-base64/%zz",
	} {
		connection, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = fmt.Fprintf(connection, "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", line, address)
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, response.StatusCode, line)
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
		require.NoError(t, response.Body.Close())
		require.NoError(t, connection.Close())
	}
}
