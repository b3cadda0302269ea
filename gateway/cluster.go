package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
	"unicode/utf8"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// coordinatorTimeout bounds what waits for a coordinator, so that with all of them away people still get what the table
// says before they lose patience. A request that asks for less gets less.
const coordinatorTimeout = 2 * time.Second

// noTable says why the gateway has no table of the ring.
func (g *Gateway) noTable() error {
	reason := "no coordinator has answered yet"
	if opening, ok := g.config.Client.(interface{ NotReady() string }); ok {
		reason = opening.NotReady()
	}
	return kverr.Retry(kverr.Unavailable, time.Second, "this gateway holds no table of the ring: "+reason)
}

// askCluster asks a coordinator. An error is part of the answer, not the end of it: without coordinators the cluster
// still serves.
func (g *Gateway) askCluster(r *http.Request) (*kringv1.GetClusterResponse, error, error) {
	q, err := parseQuery(r.URL.RawQuery, "timeout")
	if err != nil {
		return nil, nil, err
	}
	timeout, err := g.timeoutOf(r, &q)
	if err != nil {
		return nil, nil, err
	}
	if timeout == 0 {
		timeout = coordinatorTimeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	response, unreachable := g.config.Client.Cluster(ctx)
	return response, unreachable, nil
}

func (g *Gateway) getCluster(x *exchange, r *http.Request) error {
	response, unreachable, err := g.askCluster(r)
	if err != nil {
		return err
	}
	if unreachable == nil {
		return x.sendJSON(viewCluster(response))
	}
	table := g.config.Client.Table()
	if table == nil {
		return g.noTable()
	}
	return x.sendJSON(viewClusterOfTable(table, unreachable))
}

func (g *Gateway) getMembers(x *exchange, r *http.Request) error {
	response, unreachable, err := g.askCluster(r)
	if err != nil {
		return err
	}
	if unreachable == nil {
		return x.sendJSON(viewMembers(response))
	}
	table := g.config.Client.Table()
	if table == nil {
		return g.noTable()
	}
	return x.sendJSON(viewMembersOfTable(table, unreachable))
}

// ringCache keeps the newest table's rendering: it is large, asked for often and changes seldom.
type ringCache struct{ newest atomic.Pointer[renderedRing] }

type renderedRing struct {
	table *ring.Table
	body  []byte
}

func (c *ringCache) render(table *ring.Table) ([]byte, error) {
	if have := c.newest.Load(); have != nil && have.table == table {
		return have.body, nil
	}
	body, err := renderTable(table)
	if err != nil {
		return nil, err
	}
	c.newest.Store(&renderedRing{table, body})
	return body, nil
}

func (g *Gateway) getRing(x *exchange, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery, "timeout"); err != nil {
		return err
	}
	conditions, err := parseConditions(r.Header)
	if err != nil {
		return err
	}
	// With what nodes have told of since, one version would have several bodies.
	table := g.config.Client.CoordinatorsTable()
	if table == nil {
		return g.noTable()
	}
	header := x.Header()
	header["Cache-Control"] = valuesNoCache
	switch conditions.forRead(table.Version) {
	case http.StatusPreconditionFailed:
		return &kverr.Error{Code: kverr.PreconditionFailed, Version: table.Version}
	case http.StatusNotModified:
		x.appendETag(table.Version)
		x.WriteHeader(http.StatusNotModified)
		return nil
	}
	body, err := g.ring.render(table)
	if err != nil {
		return err
	}
	x.appendETag(table.Version)
	header["Content-Type"] = valuesJSON
	x.appendLength(uint64(len(body)))
	x.WriteHeader(http.StatusOK)
	x.send(body)
	return nil
}

// keyFromQuery is the key of key= (as in forms: + is a space) or key_base64=.
func keyFromQuery(r *http.Request) ([]byte, error) {
	q, err := parseQuery(r.URL.RawQuery, "key", "key_base64", "timeout")
	if err != nil {
		return nil, err
	}
	plain, isPlain := q.get("key")
	encoded, isEncoded := q.get("key_base64")
	switch {
	case isPlain == isEncoded:
		return nil, kverr.New(kverr.BadRequest, "give either key= or key_base64=")
	case isPlain:
		return checkKey([]byte(plain))
	}
	key, err := decodeBase64(encoded)
	if err != nil {
		return nil, err
	}
	return checkKey(key)
}

func (g *Gateway) getLocate(x *exchange, r *http.Request) error {
	key, err := keyFromQuery(r)
	if err != nil {
		return err
	}
	table := g.config.Client.Table()
	if table == nil || !table.Formed() {
		return g.noTable()
	}
	location := g.config.Client.Locate(key)
	view := locationView{
		Partition: viewPartition(&location.Partition), PreferredNode: location.Preferred, TableVersion: location.TableVersion,
		Members: []memberView{},
	}
	if utf8.Valid(key) {
		view.Key = string(key)
	} else {
		view.KeyBase64 = encodeBase64(key)
	}
	for i := range location.Members {
		view.Members = append(view.Members, viewMember(&location.Members[i]))
	}
	x.text = appendEpoch(x.text, location.Partition.Epoch)
	x.field("Kring-Epoch")
	return x.sendJSON(view)
}

// hex64 is how 64-bit ids and digests are shown: sixteen hex digits, since JSON's numbers lose some of their bits.
func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }
