package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Paths of operations and of what moves.
const (
	OperationsPath = "/v1/operations"
	RebalancePath  = "/v1/cluster/rebalance"
	EventsPath     = "/v1/cluster/events"
)

// OperationPath is that of one operation.
func OperationPath(id uint64) string { return OperationsPath + "/" + strconv.FormatUint(id, 10) }

// OperationRequest says what to do; Kind decides what else is looked at.
type OperationRequest struct {
	Kind      string `json:"kind"`
	Node      string `json:"node,omitempty"`
	By        string `json:"by,omitempty"`
	Weight    uint32 `json:"weight,omitempty"`
	Zone      string `json:"zone,omitempty"`
	None      bool   `json:"none,omitempty"` // no zone
	Replicas  uint32 `json:"replicas,omitempty"`
	MinInSync uint32 `json:"min_in_sync,omitempty"`
}

// Operation is one that people asked for, or a node by joining.
type Operation struct {
	OperationRequest
	ID          uint64     `json:"id"`
	State       string     `json:"state"` // running, paused, done, canceled or failed
	Message     string     `json:"message"`
	Started     time.Time  `json:"started"`
	Ended       *time.Time `json:"ended"`
	CopiesTotal int        `json:"copies_total"`
	BytesTotal  uint64     `json:"bytes_total"`
	Progress    *Progress  `json:"progress"` // nil: it has ended
}

// Progress is how far an operation is.
type Progress struct {
	CopiesLeft     int    `json:"copies_left"`
	CopiesMoving   int    `json:"copies_moving"`
	BytesLeft      uint64 `json:"bytes_left"`
	BytesPerSecond uint64 `json:"bytes_per_second"`
	EtaMillis      uint64 `json:"eta_ms"`
}

// Operations is what OperationsPath answers.
type Operations struct {
	Operations []Operation `json:"operations"` // newest first
}

// UnmarshalJSON takes the answer for one operation as well.
func (o *Operations) UnmarshalJSON(b []byte) error {
	var list struct {
		Operations *[]Operation `json:"operations"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if list.Operations != nil {
		o.Operations = *list.Operations
		return nil
	}
	o.Operations = make([]Operation, 1)
	return json.Unmarshal(b, &o.Operations[0])
}

// Balance is one node before and after a plan.
type Balance struct {
	Node            string  `json:"node"`
	CopiesBefore    int     `json:"copies_before"`
	CopiesAfter     int     `json:"copies_after"`
	PrimariesBefore int     `json:"primaries_before"`
	PrimariesAfter  int     `json:"primaries_after"`
	Share           float64 `json:"share"`
}

// Plan is what an operation would do.
type Plan struct {
	Operation      Operation `json:"operation"`
	Copies         int       `json:"copies"`
	Bytes          uint64    `json:"bytes"`
	DurationMillis uint64    `json:"duration_ms"`
	Notes          []string  `json:"notes"`
	Nodes          []Balance `json:"nodes"`
	Moves          []struct {
		Reason string `json:"reason"`
	} `json:"moves"`
}

// Limits are the settings of moves.
type Limits struct {
	Paused                    bool   `json:"paused"`
	TransfersPerNode          uint32 `json:"transfers_per_node"`
	Transfers                 uint32 `json:"transfers"`
	NodeBytesPerSecond        uint64 `json:"node_bytes_per_second"`
	RepairFloorBytesPerSecond uint64 `json:"repair_floor_bytes_per_second"`
	Guard                     struct {
		Off       bool   `json:"off"`
		P99Micros uint64 `json:"p99_us"`
	} `json:"guard"`
}

// Rebalance is what RebalancePath answers.
type Rebalance struct {
	Settings       Limits  `json:"settings"`
	MovesLeft      int     `json:"moves_left"`
	BytesLeft      uint64  `json:"bytes_left"`
	BytesPerSecond uint64  `json:"bytes_per_second"`
	EtaMillis      uint64  `json:"eta_ms"`
	GuardMicros    uint64  `json:"guard_p99_us"` // 0: off, or not known yet
	GuardShare     float64 `json:"guard_share"`
	Clients        struct {
		RequestsPerSecond float64 `json:"requests_per_second"`
		P50Micros         uint64  `json:"p50_us"`
		P99Micros         uint64  `json:"p99_us"`
	} `json:"clients"`
	Transfers []Transfer `json:"transfers"`
	Nodes     []Balance  `json:"nodes"`
}

// Transfer is a copy on its way.
type Transfer struct {
	Partition      uint32 `json:"partition"`
	From           string `json:"from"`
	To             string `json:"to"`
	Reason         string `json:"reason"`
	Phase          string `json:"phase"`
	BytesDone      uint64 `json:"bytes_done"`
	BytesTotal     uint64 `json:"bytes_total"`
	BytesPerSecond uint64 `json:"bytes_per_second"`
}

// Start begins an operation, once for all calls with one key.
func (c *Client) Start(ctx context.Context, r OperationRequest, key string) (*Operation, error) {
	v := &Operation{}
	return v, c.control(ctx, http.MethodPost, OperationsPath, nil, http.Header{idempotencyKey: {key}}, r, v)
}

// Try says what an operation would do.
func (c *Client) Try(ctx context.Context, r OperationRequest) (*Plan, json.RawMessage, error) {
	var raw json.RawMessage
	// Nothing is changed, so it may be sent twice: any key says so.
	err := c.control(ctx, http.MethodPost, OperationsPath, url.Values{"dry_run": {"true"}}, http.Header{idempotencyKey: {"dry run"}}, r, &raw)
	if err != nil {
		return nil, nil, err
	}
	v := &Plan{}
	return v, raw, json.Unmarshal(raw, v)
}

// Change pauses, resumes or cancels an operation, as verb says. To say it twice does no harm.
func (c *Client) Change(ctx context.Context, id uint64, verb string) (*Operation, error) {
	v := &Operation{}
	return v, c.control(ctx, http.MethodPost, OperationPath(id)+"/"+verb, nil, http.Header{idempotencyKey: {verb}}, nil, v)
}

// Operation asks how far one is.
func (c *Client) Operation(ctx context.Context, id uint64) (*Operation, error) {
	v := &Operation{}
	return v, c.JSON(ctx, OperationPath(id), nil, v)
}

// Operations asks for all that run, and those that ended of late.
func (c *Client) Operations(ctx context.Context) (*Operations, error) {
	v := &Operations{}
	return v, c.JSON(ctx, OperationsPath, nil, v)
}

// Rebalance asks what moves now.
func (c *Client) Rebalance(ctx context.Context) (*Rebalance, error) {
	v := &Rebalance{}
	return v, c.JSON(ctx, RebalancePath, nil, v)
}

// SetLimits replaces the settings of moves. To say it twice does no harm.
func (c *Client) SetLimits(ctx context.Context, l Limits) (*Limits, error) {
	v := &Limits{}
	return v, c.control(ctx, http.MethodPut, RebalancePath, nil, http.Header{idempotencyKey: {"limits"}}, l, v)
}

// control is one request with a JSON body, if in is not nil, and a JSON answer.
func (c *Client) control(ctx context.Context, method, path string, query url.Values, header http.Header, in, out any) error {
	body := []byte{}
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		header.Set("Content-Type", "application/json")
	}
	response, err := c.Do(ctx, Request{Method: method, Path: path, Query: query, Header: header, Body: body})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", response.Request.URL, err)
	}
	return nil
}
