package rest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Summary says in a line how the cluster is.
func (c *Cluster) Summary() string {
	switch {
	case !c.CoordinatorsReachable:
		return "no coordinator answers: " + c.CoordinatorsError
	case c.Health == "unknown" && c.WaitingFor != "":
		return "unknown: " + c.WaitingFor
	case !c.Formed:
		if c.WaitingFor == "" {
			return "forming"
		}
		return "forming, waiting for " + c.WaitingFor
	}
	var parts []string
	add := func(n *int, what string) {
		if n != nil && *n > 0 {
			noun := "partitions"
			if *n == 1 {
				noun = "partition"
			}
			parts = append(parts, fmt.Sprintf("%d %s %s", *n, noun, what))
		}
	}
	add(c.Partitions.Offline, "offline")
	add(c.Partitions.Leaderless, "leaderless")
	add(c.Partitions.UnderReplicated, "under-replicated")
	if down := c.Nodes.Total - c.Nodes.Up; down > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d nodes down", down, c.Nodes.Total))
	}
	for _, n := range c.NodeProblems {
		if n.Kind == "suspect" || n.Kind == "leaving" {
			parts = append(parts, n.Node+" "+n.Kind)
		}
	}
	if n := c.Partitions.JoiningCopies; n != nil && *n > 0 {
		parts = append(parts, fmt.Sprintf("%d copies joining", *n))
	}
	if c.Coordinators != nil && c.Coordinators.Up < c.Coordinators.Total {
		parts = append(parts, fmt.Sprintf("%d of %d coordinators down", c.Coordinators.Total-c.Coordinators.Up, c.Coordinators.Total))
	}
	if len(parts) == 0 {
		return c.Health
	}
	return c.Health + ": " + strings.Join(parts, ", ")
}

func openSummary(open, total int) string {
	return fmt.Sprintf("%d of %d partitions are open", open, total)
}

// lookEvery is the pause between two looks of Wait.
const lookEvery = 50 * time.Millisecond

// Wait looks until done says so, and returns nil; or ctx ends, and returns its error with what was missing.
func (c *Client) Wait(ctx context.Context, done func(ctx context.Context) (ok bool, missing string, err error)) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	last := "no answer yet"
	for {
		ok, missing, err := done(ctx)
		switch {
		case err == nil && ok:
			return nil
		case err == nil:
			last = missing
		case ctx.Err() == nil: // else it only says that time is up
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return waitError(ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

func waitError(cause error, last string) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("not in time: %s", last)
	}
	return fmt.Errorf("%w: %s", cause, last)
}
