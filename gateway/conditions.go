package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

// maxTags bounds one If-Match or If-None-Match.
const maxTags = 256

// tagList is a parsed If-Match or If-None-Match.
type tagList struct {
	present bool
	any     bool     // "*"
	strong  []uint64 // versions of strong tags that can be ours
	weak    []uint64 // versions of all tags that can be ours, weak ones included
}

// parseTags reads RFC 9110's 1#entity-tag or "*". Tags that no version of ours can have (`"abc"`, `"05"`) are dropped:
// they match nothing. Anything malformed is an error: to overlook a condition would make a write unconditional.
func parseTags(name string, lines []string) (tagList, error) {
	list := tagList{present: len(lines) > 0}
	if !list.present {
		return list, nil
	}
	rest := strings.Join(lines, ",")
	if strings.Trim(rest, " \t") == "*" {
		list.any = true
		return list, nil
	}
	for count := 0; ; {
		rest = strings.TrimLeft(rest, " \t,") // RFC 9110 lets empty elements pass
		if rest == "" {
			if count == 0 {
				return tagList{}, badTags(name)
			}
			return list, nil
		}
		if count++; count > maxTags {
			return tagList{}, kverr.Newf(kverr.BadRequest, "%s names more than %d entity tags", name, maxTags)
		}
		weak, opaque, after, ok := cutTag(rest)
		after = strings.TrimLeft(after, " \t")
		if !ok || after != "" && after[0] != ',' {
			return tagList{}, badTags(name)
		}
		rest = after
		if version, ours := versionOfTag(opaque); ours {
			list.weak = append(list.weak, version)
			if !weak {
				list.strong = append(list.strong, version)
			}
		}
	}
}

func badTags(name string) error {
	return kverr.Newf(kverr.BadRequest, `%s must be * or a list of entity tags in double quotes, such as "17"`, name)
}

// cutTag takes one entity tag off the front of s.
func cutTag(s string) (weak bool, opaque, rest string, ok bool) {
	s, weak = strings.CutPrefix(s, "W/")
	s, ok = strings.CutPrefix(s, `"`)
	if !ok {
		return false, "", "", false
	}
	end := strings.IndexByte(s, '"')
	if end < 0 {
		return false, "", "", false
	}
	for i := range end {
		if c := s[i]; c < 0x21 || c == 0x7f {
			return false, "", "", false
		}
	}
	return weak, s[:end], s[end+1:], true
}

// versionOfTag is the version whose tag is opaque; versions start at 1 and have one spelling.
func versionOfTag(opaque string) (uint64, bool) {
	version, err := strconv.ParseUint(opaque, 10, 64)
	return version, err == nil && version != 0 && opaque[0] != '0' && opaque[0] != '+'
}

func has(versions []uint64, version uint64) bool {
	for _, v := range versions {
		if v == version {
			return true
		}
	}
	return false
}

// conditions are the preconditions of one request.
type conditions struct {
	ifMatch, ifNoneMatch tagList
}

func parseConditions(h http.Header) (c conditions, err error) {
	if c.ifMatch, err = parseTags("If-Match", h["If-Match"]); err != nil {
		return c, err
	}
	c.ifNoneMatch, err = parseTags("If-None-Match", h["If-None-Match"])
	return c, err
}

// forMutation is what the node has to judge, and whether there is anything to judge.
func (c *conditions) forMutation() (client.Condition, bool) {
	var out client.Condition
	switch {
	case c.ifMatch.any:
		out.IfExists = true
	case c.ifMatch.present:
		out.IfVersions = c.ifMatch.strong
		if len(out.IfVersions) == 0 {
			out.IfVersions = []uint64{0} // no key ever has version 0: this fails, and tells the version that it has
		}
	}
	switch {
	case c.ifNoneMatch.any:
		out.IfAbsent = true
	case c.ifNoneMatch.present:
		out.IfNotVersions = c.ifNoneMatch.weak
	}
	return out, c.ifMatch.present || c.ifNoneMatch.present
}

// forRead judges an existing key at version: 0 to go on, or 304 or 412.
func (c *conditions) forRead(version uint64) int {
	if c.ifMatch.present && !c.ifMatch.any && !has(c.ifMatch.strong, version) {
		return http.StatusPreconditionFailed
	}
	if c.ifNoneMatch.present && (c.ifNoneMatch.any || has(c.ifNoneMatch.weak, version)) {
		return http.StatusNotModified
	}
	return 0
}
