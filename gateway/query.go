package gateway

import (
	"net/url"
	"sort"
	"strings"

	"github.com/kringdb/kring/proto/kverr"
)

// query is a request's parsed query; the zero value is an empty one.
type query struct{ values url.Values }

// later are parameters that the design names and this version does not serve: better refused than overlooked.
var later = map[string]bool{
	"wait": true, "max_staleness": true, "atomic": true,
}

// parseQuery refuses what is malformed, given twice, or not among allowed: a misspelt parameter that is overlooked looks
// like one that is obeyed.
func parseQuery(raw string, allowed ...string) (query, error) {
	if raw == "" {
		return query{}, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, kverr.Newf(kverr.BadRequest, "the query is malformed: %v", err)
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		switch {
		case later[name]:
			return query{}, kverr.Newf(kverr.BadRequest, "%s= is not yet supported", name)
		case !contains(allowed, name):
			return query{}, kverr.Newf(kverr.BadRequest, "unknown query parameter %q: here are known %s",
				name, strings.Join(allowed, ", "))
		case len(values[name]) > 1:
			return query{}, kverr.Newf(kverr.BadRequest, "%s= is given twice", name)
		}
	}
	return query{values}, nil
}

func (q *query) get(name string) (string, bool) {
	v, ok := q.values[name]
	if !ok {
		return "", false
	}
	return v[0], true
}

func contains(set []string, s string) bool {
	for _, have := range set {
		if have == s {
			return true
		}
	}
	return false
}
