package gateway

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

const metaPrefix = "Kring-Meta-" // canonical, as net/http gives it

// parseAttributes takes what is kept with a value out of a PUT's header. Repeated lines are joined as RFC 9110 joins
// them. The second result is false when there is nothing to keep.
func parseAttributes(h http.Header) (client.Attributes, bool, error) {
	a := client.Attributes{
		ContentType:     strings.Join(h["Content-Type"], ", "),
		ContentEncoding: strings.Join(h["Content-Encoding"], ", "),
	}
	size := len(a.ContentType) + len(a.ContentEncoding)
	for name, lines := range h {
		if !strings.HasPrefix(name, metaPrefix) {
			continue
		}
		short := strings.ToLower(name[len(metaPrefix):])
		if short == "" {
			return a, false, kverr.New(kverr.BadRequest, "Kring-Meta- needs a name after it, such as Kring-Meta-Owner")
		}
		if a.Metadata == nil {
			a.Metadata = make(map[string]string)
		}
		value := strings.Join(lines, ", ")
		a.Metadata[short] = value
		size += len(short) + len(value)
	}
	if size > MaxAttributeBytes {
		return a, false, kverr.Newf(kverr.BadRequest,
			"Content-Type, Content-Encoding and Kring-Meta-* have %d bytes together: at most %d are kept", size, MaxAttributeBytes)
	}
	return a, size > 0, nil
}

var defaultContentType = []string{"application/octet-stream"}

// setAttributes gives back what parseAttributes kept. Other clients may have kept names and values that HTTP cannot
// carry; net/http leaves out such names and blanks line breaks in values.
func setAttributes(h http.Header, a *client.Attributes) {
	if a.ContentType == "" {
		h["Content-Type"] = defaultContentType
	} else {
		h["Content-Type"] = []string{a.ContentType}
	}
	if a.ContentEncoding != "" {
		h["Content-Encoding"] = []string{a.ContentEncoding}
	}
	for name, value := range a.Metadata {
		h[metaPrefix+textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	}
}
