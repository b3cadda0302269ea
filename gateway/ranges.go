package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kringdb/kring/ring/client"
)

// span is part of a value: n bytes from start.
type span struct{ start, n int64 }

// parseRange reads a Range header for a value of size bytes. ok is false for what is no range of bytes or malformed,
// which RFC 9110 has ignored. Spans that lie past the end are left out: with ok and no spans none can be satisfied.
func parseRange(s string, size int64) (spans []span, ok bool) {
	list, isBytes := strings.CutPrefix(s, "bytes=")
	if !isBytes {
		return nil, false
	}
	count := 0
	for part := range strings.SplitSeq(list, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		count++
		first, last, dash := strings.Cut(part, "-")
		if !dash {
			return nil, false
		}
		p, valid := parseSpan(first, last, size)
		if !valid {
			return nil, false
		}
		if p.n > 0 {
			spans = append(spans, p)
		}
	}
	return spans, count > 0
}

func parseSpan(first, last string, size int64) (span, bool) {
	if first == "" { // the last so many bytes
		n, ok := parsePosition(last)
		n = min(n, size)
		return span{size - n, n}, ok
	}
	start, ok := parsePosition(first)
	if !ok {
		return span{}, false
	}
	end := size - 1
	if last != "" {
		e, ok := parsePosition(last)
		if !ok || e < start {
			return span{}, false
		}
		end = min(e, end)
	}
	if start >= size {
		return span{}, true
	}
	return span{start, end - start + 1}, true
}

// parsePosition takes digits only; a number past int64 is as good as the largest.
func parsePosition(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}

// rangeApplies judges If-Range: only the strong tag of this version keeps the range. We give no dates, so none matches.
func rangeApplies(h http.Header, version uint64) bool {
	lines := h["If-Range"]
	if len(lines) == 0 {
		return true
	}
	return len(lines) == 1 && lines[0] == `"`+strconv.FormatUint(version, 10)+`"`
}

// sendRange answers a GET with a Range: 206, 416, or 200 with everything where RFC 9110 has the range ignored. An empty
// value is sent whole: some clients ask for a range of everything they fetch.
func (x *exchange) sendRange(r *http.Request, v *client.Value, asked string) error {
	size := int64(len(v.Value))
	spans, ok := parseRange(asked, size)
	switch {
	case !ok || size == 0 || !rangeApplies(r.Header, v.Version):
		x.appendLength(uint64(size))
		x.WriteHeader(http.StatusOK)
		x.send(v.Value)
	case len(spans) == 0:
		header := x.Header()
		delete(header, "Content-Encoding") // the problem that follows is not encoded
		for name := range v.Attributes.Metadata {
			header.Del(metaPrefix + name)
		}
		header["Content-Range"] = []string{"bytes */" + strconv.FormatInt(size, 10)}
		return &refusal{
			status: http.StatusRequestedRangeNotSatisfiable, code: "range_not_satisfiable", title: "Range not satisfiable",
			detail: fmt.Sprintf("the value has %d bytes", size),
		}
	case len(spans) == 1:
		p := spans[0]
		x.text = fmt.Appendf(x.text, "bytes %d-%d/%d", p.start, p.start+p.n-1, size)
		x.field("Content-Range")
		x.appendLength(uint64(p.n))
		x.WriteHeader(http.StatusPartialContent)
		x.send(v.Value[p.start : p.start+p.n])
	default:
		x.sendSpans(r, v)
	}
	return nil
}

// sendSpans leaves several ranges to net/http, which knows multipart/byteranges and answers 200 when they add up to more
// than the value. It reads the entity tag from the header.
func (x *exchange) sendSpans(r *http.Request, v *client.Value) {
	x.Header()["Etag"] = []string{`"` + strconv.FormatUint(v.Version, 10) + `"`}
	http.ServeContent(x, r, "", time.Time{}, bytes.NewReader(v.Value))
}
