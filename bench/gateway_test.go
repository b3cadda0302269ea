package bench_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// fakeGateway answers as a gateway does, from a bench.Memory.
func fakeGateway(t *testing.T) *httptest.Server {
	t.Helper()
	memory := bench.NewMemory()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/kv/"))
		if err != nil || key == "" {
			writeProblem(w, http.StatusBadRequest, kverr.New(kverr.BadRequest, "bad key"))
			return
		}
		serveKey(w, r, memory, []byte(key))
	}))
	t.Cleanup(server.Close)
	return server
}

func serveKey(w http.ResponseWriter, r *http.Request, memory *bench.Memory, key []byte) {
	var version uint64
	var value []byte
	var err error
	switch r.Method {
	case http.MethodGet:
		var read bench.Read
		read, err = memory.Get(r.Context(), key, nil)
		version, value = read.Version, read.Value
	case http.MethodPut:
		var body []byte
		if body, err = io.ReadAll(r.Body); err != nil {
			return
		}
		switch expected := r.Header.Get("If-Match"); {
		case expected != "":
			n, perr := strconv.ParseUint(strings.Trim(expected, `"`), 10, 64)
			if perr != nil {
				panic(perr)
			}
			version, err = memory.CompareAndSwap(r.Context(), key, body, n)
		case r.Header.Get("If-None-Match") == "*":
			version, err = memory.CompareAndSwap(r.Context(), key, body, 0)
		default:
			version, err = memory.Put(r.Context(), key, body)
		}
	case http.MethodPost:
		delta, perr := strconv.ParseInt(r.URL.Query().Get("incr"), 10, 64)
		if perr != nil {
			panic(perr)
		}
		var number int64
		if number, version, err = memory.Increment(r.Context(), key, delta); err == nil {
			w.Header().Set("ETag", `"`+strconv.FormatUint(version, 10)+`"`)
			_, _ = io.WriteString(w, strconv.FormatInt(number, 10))
			return
		}
	case http.MethodDelete:
		_, err = memory.Delete(r.Context(), key)
	}
	if e := kverr.As(err); e != nil {
		status := map[kverr.Code]int{kverr.NotFound: 404, kverr.PreconditionFailed: 412, kverr.NotANumber: 409}[e.Code]
		writeProblem(w, status, e)
		return
	}
	if version != 0 {
		w.Header().Set("ETag", `"`+strconv.FormatUint(version, 10)+`"`)
	}
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_, _ = w.Write(value)
}

func writeProblem(w http.ResponseWriter, status int, e *kverr.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	if e.Version != 0 {
		w.Header().Set("ETag", `"`+strconv.FormatUint(e.Version, 10)+`"`)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"code": kverr.Name(e.Code), "title": "it failed", "detail": e.Message, "status": status})
}
