package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/kringdb/kring/proto/kverr"
)

// sendJSON answers 200 with v, indented for people.
func (x *exchange) sendJSON(v any) error { return x.sendJSONAs(http.StatusOK, v) }

// sendJSONAs is sendJSON with another status.
func (x *exchange) sendJSONAs(status int, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	body = append(body, '\n')
	header := x.Header()
	header["Content-Type"] = valuesJSON
	header["Cache-Control"] = valuesNoCache
	x.appendLength(uint64(len(body)))
	x.WriteHeader(status)
	x.send(body)
	return nil
}

// healthView is what /livez and /readyz answer.
type healthView struct {
	Status       string `json:"status"`
	TableVersion uint64 `json:"table_version,omitempty"`
}

func (g *Gateway) getLive(x *exchange, _ *http.Request) error {
	return x.sendJSON(healthView{Status: "live"})
}

// getReady says whether requests for keys have a chance: a formed table is held and the gateway is not stopping. It does
// not ask whether a coordinator answers: none is needed.
func (g *Gateway) getReady(x *exchange, _ *http.Request) error {
	table := g.config.Client.Table()
	switch {
	case g.stopping.Load():
		return kverr.New(kverr.Unavailable, "this gateway is stopping")
	case table == nil:
		return g.noTable()
	case !table.Formed():
		return kverr.New(kverr.Unavailable, "the cluster has not formed yet; /v1/cluster says what it waits for")
	}
	return x.sendJSON(healthView{Status: "ready", TableVersion: table.Version})
}

// indexView is what / answers.
type indexView struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Gateway string   `json:"gateway"`
	Calls   []string `json:"calls"`
}

func (g *Gateway) getIndex(x *exchange, _ *http.Request) error {
	return x.sendJSON(indexView{
		Name: "kring", Version: g.config.Version, Gateway: g.config.ID,
		Calls: []string{
			"GET, HEAD, PUT, POST, DELETE /v1/kv/{key}",
			"GET, HEAD, PUT, POST, DELETE /v1/kv-base64/{base64url of the key}",
			"GET, HEAD /v1/cluster",
			"GET, HEAD /v1/cluster/members",
			"GET, HEAD /v1/cluster/ring",
			"GET, HEAD /v1/cluster/locate?key={key}",
			"GET, HEAD /v1/cluster/copies",
			"GET, HEAD, POST /v1/cluster/recover",
			"GET, HEAD, PUT /v1/cluster/rebalance",
			"GET /v1/cluster/events",
			"GET, HEAD, POST /v1/operations",
			"GET, HEAD /v1/operations/{id}",
			"POST /v1/operations/{id}/pause",
			"POST /v1/operations/{id}/resume",
			"POST /v1/operations/{id}/cancel",
			"GET, HEAD /livez",
			"GET, HEAD /readyz",
			"GET, HEAD /metrics",
		},
	})
}
