package gateway

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/proto/kverr"
)

var update = flag.Bool("update", false, "write the answers in docs/api.md anew")

const (
	docsPath    = "../docs/api.md"
	docsAddress = "127.0.0.1:8080"
)

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// TestDocumentedExamples runs every console block of docs/api.md, in order, and compares what it prints. With -update it
// writes the blocks anew; read the difference before you commit it.
func TestDocumentedExamples(t *testing.T) {
	page, err := os.ReadFile(docsPath)
	require.NoError(t, err)
	h := start(t)
	h.twin.version = 0
	var commands int
	got := consoleBlock.ReplaceAllFunc(page, func(block []byte) []byte {
		var out strings.Builder
		out.WriteString("```console\n")
		for line := range strings.Lines(string(consoleBlock.FindSubmatch(block)[1])) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				commands++
				out.WriteString(line)
				out.WriteString(h.curl(strings.TrimSpace(command)))
			}
		}
		out.WriteString("```")
		return []byte(out.String())
	})
	require.Greater(t, commands, 20)
	if *update {
		require.NoError(t, os.WriteFile(docsPath, got, 0o644))
		return
	}
	require.Equal(t, string(page), string(got), "run go test ./gateway -run Documented -update, and read the difference")
}

// TestEveryCodeIsDocumented follows the type of each problem to its place on the page.
func TestEveryCodeIsDocumented(t *testing.T) {
	page, err := os.ReadFile(docsPath)
	require.NoError(t, err)
	codes := []string{
		"no_route", "method_not_allowed", "slow_body", "slow_header", "incomplete_body", "range_not_satisfiable", "cross_origin",
		"misdirected", "header_too_large", "not_implemented",
	}
	for number := range kverrCodes() {
		if number != 0 {
			codes = append(codes, kverr.Name(kverr.Code(number)))
		}
	}
	for _, code := range codes {
		require.True(t, bytes.Contains(page, []byte(`<a id="error-`+code+`"></a>`)), code)
	}
}

// curl does what curl does with the options used on the page, and prints what the page shows.
func (h *harness) curl(command string) string {
	h.t.Helper()
	words := shellWords(h.t, command)
	require.Equal(h.t, "curl", words[0])
	method, target, include, headOnly, form := http.MethodGet, "", false, false, false
	var body []byte
	var headers []string
	for i := 1; i < len(words); i++ {
		next := func() string { i++; return words[i] }
		switch words[i] {
		case "-i":
			include = true
		case "-I":
			method, headOnly = http.MethodHead, true
		case "-X":
			method = next()
		case "-H":
			headers = append(headers, next())
		case "-T":
			method, body = http.MethodPut, []byte("(the bytes of "+next()+")\n")
		case "--data-binary":
			body, form = []byte(next()), true
		default:
			require.NotContains(h.t, words[i][:1], "-", "curl's option %s is not known here", words[i])
			target = words[i]
		}
	}
	if form && !strings.Contains(strings.Join(headers, "\n"), "Content-Type:") {
		headers = append(headers, "Content-Type: application/x-www-form-urlencoded")
	}
	target, ok := strings.CutPrefix(target, "http://"+docsAddress)
	require.True(h.t, ok, command)
	require.NotRegexp(h.t, `/\.\.?(/|$)|[{}\[\]#]`, target, "curl would not send this as it is: %s", command)
	a := h.do(method, target, body, headers...)
	var out strings.Builder
	if include || headOnly {
		fmt.Fprintf(&out, "HTTP/1.1 %s\n", a.Status)
		for _, name := range []string{
			"Allow", "Content-Length", "Content-Range", "Content-Type", "ETag", "Kring-Epoch", "Kring-Node", "Kring-Meta-Source", "Location",
			"Kring-TTL", "Idempotency-Replayed", "Retry-After",
		} {
			if v := a.Header.Get(name); v != "" && (name != "Content-Length" || headOnly) {
				fmt.Fprintf(&out, "%s: %s\n", name, v)
			}
		}
		if len(a.body) > 0 {
			out.WriteString("\n")
		}
	}
	out.WriteString(readable(string(a.body), h.address))
	return out.String()
}

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

// What an example shows of a long line's two ends, in bytes, and of a long answer, in lines.
const (
	lineStart, lineEnd = 480, 360
	mostLines          = 120
)

// readable takes out what differs from run to run, shortens what is long, and ends with a line break.
func readable(body, address string) string {
	if body == "" {
		return ""
	}
	body = requestIDs.ReplaceAllString(body, `"request_id":"…"`)
	body = strings.ReplaceAll(body, address, docsAddress)
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if len(lines) > mostLines {
		lines = append(lines[:mostLines], "…")
	}
	for i, line := range lines {
		if len(line) > lineStart+lineEnd {
			lines[i] = line[:lineStart] + "…" + line[len(line)-lineEnd:]
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// shellWords splits a command as a shell does, with single quotes only.
func shellWords(t testing.TB, command string) []string {
	t.Helper()
	var words []string
	word, quoted, some := "", false, false
	for _, r := range command {
		switch {
		case r == '\'':
			quoted, some = !quoted, true
		case r == ' ' && !quoted:
			if some {
				words = append(words, word)
			}
			word, some = "", false
		default:
			word, some = word+string(r), true
		}
	}
	require.False(t, quoted, command)
	if some {
		words = append(words, word)
	}
	return words
}

// TestKeyTable checks the page's table of paths and keys.
func TestKeyTable(t *testing.T) {
	for path, key := range map[string]string{
		"users/42": "users/42", "users%2f42": "users/42", "a//b": "a//b", "a/": "a/", "..": "..", "%252e": "%2e", "a+b": "a+b",
		"%00%ff": "\x00\xff",
	} {
		u, err := url.ParseRequestURI(keyPrefix + path)
		require.NoError(t, err)
		got, err := keyFromPath(u)
		require.NoError(t, err)
		require.Equal(t, key, string(got))
	}
}
