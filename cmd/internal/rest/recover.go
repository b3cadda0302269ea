package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// RecoverPath lists partitions without a living in-sync copy, and takes overrides.
const RecoverPath = "/v1/cluster/recover"

// Offline is what a GET of RecoverPath answers.
type Offline struct {
	TableVersion uint64             `json:"table_version"`
	Partitions   []OfflinePartition `json:"partitions"`
	Silent       []struct {
		Node  string `json:"node"`
		Error string `json:"error"`
	} `json:"silent_nodes"`
}

// OfflinePartition has no in-sync copy that can be reached.
type OfflinePartition struct {
	Partition uint32     `json:"partition"`
	Epoch     string     `json:"epoch"`
	Since     time.Time  `json:"since"`
	InSync    []Replica  `json:"in_sync"`
	Copies    []LeftCopy `json:"copies"` // the best first
}

// LeftCopy is what a node that answers holds.
type LeftCopy struct {
	Node      string     `json:"node"`
	Store     string     `json:"store"`
	Applied   uint64     `json:"applied"`
	Last      uint64     `json:"last"`
	LastEpoch string     `json:"last_epoch"`
	Keys      uint64     `json:"keys"`
	Newest    *time.Time `json:"newest,omitempty"`
}

// Override makes one copy the whole of a partition.
type Override struct {
	Partition uint32 `json:"partition"`
	Epoch     string `json:"epoch"` // as Offline told it: what has changed since is left alone
	Node      string `json:"node"`
	Store     string `json:"store"`
}

// Overridden is what a POST of overrides answers.
type Overridden struct {
	Partitions []struct {
		Partition     uint32     `json:"partition"`
		Decided       *Partition `json:"decided,omitempty"`
		VersionsAbove uint64     `json:"versions_above,omitempty"`
		Error         string     `json:"error,omitempty"`
	} `json:"partitions"`
}

// Offline lists what is offline, and what is left of it.
func (c *Client) Offline(ctx context.Context) (*Offline, error) {
	var out Offline
	return &out, c.JSON(ctx, RecoverPath, url.Values{}, &out)
}

// Recover has overrides decided. ErrOutcomeUnknown: Offline tells whether they were; to repeat them then is harmless, since each
// names the epoch it was decided upon from.
func (c *Client) Recover(ctx context.Context, overrides []Override) (*Overridden, error) {
	body, err := json.Marshal(map[string]any{"partitions": overrides})
	if err != nil {
		return nil, err
	}
	response, err := c.Do(ctx, Request{
		Method: http.MethodPost, Path: RecoverPath, Header: http.Header{"Content-Type": {"application/json"}}, Body: body,
	})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var out Overridden
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(&out); err != nil {
		return nil, fmt.Errorf("answer of %s: %w", response.Request.URL, err)
	}
	return &out, nil
}
