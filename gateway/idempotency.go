package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/http"
	"sort"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

// checkIdempotencyKey refuses what the cluster would not take, before a body is read.
func checkIdempotencyKey(lines []string) error {
	switch {
	case len(lines) == 0:
		return nil
	case len(lines) > 1:
		return kverr.New(kverr.BadRequest, "Idempotency-Key is given twice")
	case lines[0] == "" || len(lines[0]) > client.MaxIdempotencyKeyBytes:
		return kverr.Newf(kverr.BadRequest, "Idempotency-Key must have 1 to %d bytes; a UUID will do", client.MaxIdempotencyKeyBytes)
	}
	return nil
}

// identify has the mutation remembered under the request's Idempotency-Key, if it has one. What is asked for is the method,
// the conditions, and what rest adds; the key in the path is no part of it, since the client keeps those apart anyway.
func (m *mutation) identify(r *http.Request, rest func(*fingerprint)) {
	lines := r.Header["Idempotency-Key"]
	if len(lines) == 0 {
		return
	}
	h := &fingerprint{hash: sha256.New()}
	h.text(r.Method)
	h.condition(&m.conditions)
	rest(h)
	m.options = append(m.options, client.IdempotencyKey(lines[0], h.hash.Sum(nil)))
}

// fingerprint is a hash over parts that cannot run into each other.
type fingerprint struct{ hash hash.Hash }

func (h *fingerprint) number(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.hash.Write(b[:]) // a hash never fails
}

func (h *fingerprint) bytes(b []byte) {
	h.number(int64(len(b)))
	h.hash.Write(b)
}

func (h *fingerprint) text(s string) { h.bytes([]byte(s)) }

func (h *fingerprint) flag(set bool) {
	if set {
		h.number(1)
	} else {
		h.number(0)
	}
}

func (h *fingerprint) versions(versions []uint64) {
	h.number(int64(len(versions)))
	for _, v := range versions {
		h.number(int64(v))
	}
}

func (h *fingerprint) condition(c *client.Condition) {
	h.flag(c.IfExists)
	h.flag(c.IfAbsent)
	h.versions(c.IfVersions)
	h.versions(c.IfNotVersions)
}

func (h *fingerprint) attributes(a *client.Attributes) {
	h.text(a.ContentType)
	h.text(a.ContentEncoding)
	names := make([]string, 0, len(a.Metadata))
	for name := range a.Metadata {
		names = append(names, name)
	}
	sort.Strings(names)
	h.number(int64(len(names)))
	for _, name := range names {
		h.text(name)
		h.text(a.Metadata[name])
	}
}
