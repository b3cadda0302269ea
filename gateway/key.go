package gateway

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/kringdb/kring/proto/kverr"
)

const (
	keyPrefix       = "/v1/kv/"
	keyBase64Prefix = "/v1/kv-base64/"
)

var (
	errEmptyKey  = kverr.New(kverr.BadRequest, "the key is empty: a key has 1 to 4096 bytes")
	errLongKey   = kverr.New(kverr.KeyTooLong, "the key is longer than 4096 bytes")
	errBadBase64 = kverr.New(kverr.BadRequest,
		"the key is not base64url (RFC 4648: A-Z a-z 0-9 - _, with or without padding)")
	errPrefix = kverr.New(kverr.BadRequest, "the part of the path before the key must not be percent-encoded")
)

// keyFromPath cuts the key out of a request's URL: what follows the prefix, unescaped once. net/url has unescaped the
// path exactly once into Path, and RawPath (or Path, if RawPath is empty) is what was sent. The prefixes hold nothing
// that unescaping changes, so when what was sent begins with one, Path begins with the same bytes and the rest of Path is
// the key. The key is a copy: it may outlive the request.
func keyFromPath(u *url.URL) ([]byte, error) {
	sent := u.RawPath
	if sent == "" {
		sent = u.Path
	}
	switch {
	case strings.HasPrefix(sent, keyPrefix):
		return checkKey([]byte(u.Path[len(keyPrefix):]))
	case strings.HasPrefix(sent, keyBase64Prefix):
		key, err := decodeBase64(u.Path[len(keyBase64Prefix):])
		if err != nil {
			return nil, err
		}
		return checkKey(key)
	}
	return nil, errPrefix
}

func checkKey(key []byte) ([]byte, error) {
	switch {
	case len(key) == 0:
		return nil, errEmptyKey
	case len(key) > MaxKeyBytes:
		return nil, errLongKey
	}
	return key, nil
}

// decodeBase64 decodes base64url with or without padding. One key has one spelling of each kind: stray bits after the
// last byte and line breaks, which the standard decoder lets pass, are refused.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errBadBase64
	}
	encoding := base64.RawURLEncoding
	if strings.HasSuffix(s, "=") {
		encoding = base64.URLEncoding
	}
	key, err := encoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errBadBase64
	}
	return key, nil
}

// encodeBase64 is decodeBase64's reverse, unpadded.
func encodeBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
