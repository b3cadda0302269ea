package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
)

// told is a gateway that answers with h and keeps the last request.
func told(t *testing.T, h http.HandlerFunc) (address string, last *http.Request) {
	last = &http.Request{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = *r
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, last
}

func TestIncr(t *testing.T) {
	address, last := told(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"8"`)
		_, err := io.WriteString(w, r.URL.Query().Get("incr"))
		require.NoError(t, err)
	})
	for args, want := range map[string]string{
		"incr k": "1", "incr k 7": "7", "incr k -3": "-3", "incr k -3 -o table": "-3", "incr k -9223372036854775808": "-9223372036854775808",
		"incr a2V5 --key-base64 -3": "-3", "incr k --idempotency-key u1 -5": "-5",
	} {
		code, out, errs := kring(append(strings.Fields(args), "--addr="+address)...)
		require.Equal(t, exit.OK, code, "%s: %s", args, errs)
		require.Equal(t, want+"\n", out, args)
	}
	_, out, _ := kring("incr", "--addr", address, "--", "k", "-3")
	require.Equal(t, "-3\n", out)
	_, out, _ = kring("incr", "k", "5", "-o", "json", "--idempotency-key", "u1", "--if-version", "3", "--addr", address)
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	require.EqualValues(t, 5, object["number"])
	require.Equal(t, "8", object["version"])
	require.Equal(t, "u1", last.Header.Get("Idempotency-Key"))
	require.Equal(t, `"3"`, last.Header.Get("If-Match"))
	require.Equal(t, http.MethodPost, last.Method)

	address, _ = told(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, err := io.WriteString(w, `{"code":"not_a_number","detail":"the value is not a number","outcome":"none"}`)
		require.NoError(t, err)
	})
	code, _, errs := kring("incr", "k", "--addr", address)
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, "not a number")
}

func TestTTLAndIdempotencyKeyFlags(t *testing.T) {
	address, last := told(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Idempotency-Replayed", "true")
		w.Header().Set("Kring-TTL", "90")
		w.Header().Set("ETag", `"8"`)
	})
	code, out, errs := kring("put", "k", "v", "--ttl", "1h30m", "--idempotency-key", "u1", "--addr", address)
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, "1h30m0s", last.URL.Query().Get("ttl"))
	require.Equal(t, "u1", last.Header.Get("Idempotency-Key"))
	require.Contains(t, out, "earlier run")
	code, out, _ = kring("del", "k", "--idempotency-key", "u1", "-o", "json", "--addr", address)
	require.Equal(t, exit.OK, code)
	require.Contains(t, out, `"replayed": true`)

	_, out, errs = kring("get", "k", "-v", "--addr", address)
	require.Empty(t, out)
	require.Contains(t, errs, "version 8, 0 bytes, expires in 1m30s")
	_, out, _ = kring("get", "k", "-o", "json", "--addr", address)
	require.Contains(t, out, `"ttl_seconds": 90`)
	_, _, errs = kring("get", "k", "--addr", address)
	require.Empty(t, errs)
}
