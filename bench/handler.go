package bench

import (
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"
)

// NewBareHandler is what a gateway is measured against: net/http and chi giving back one value of size bytes for every
// GET below /v1/kv/, and nothing else done.
func NewBareHandler(size int) http.Handler {
	value := AppendValue(nil, nil, 1, size)
	length := strconv.Itoa(size)
	r := chi.NewRouter()
	r.Get(kvPath+"*", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", length)
		h.Set("ETag", `"1"`)
		// An error means that the client is gone, which is no concern of this handler.
		_, _ = w.Write(value)
	})
	return r
}
