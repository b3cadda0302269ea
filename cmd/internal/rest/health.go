package rest

import (
	"context"
	"fmt"
	"time"
)

// staleHeartbeat is far above the time between two heartbeats of a node that is well: one that has just died is up by the table for
// a while yet, and this is how that shows.
const staleHeartbeat = time.Second

// Open counts the partitions that their primaries say they serve, leaving out what nodes said that are gone.
func (m *Members) Open() int {
	open := 0
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.State != stateDown && n.Report != nil && n.Report.Load != nil {
			open += n.Report.Load.PartitionsPrimary
		}
	}
	return open
}

const stateDown = "down"

// Health is one look at the cluster: ok if every partition serves, with all its copies in sync on nodes that are well, none is
// still being brought up to date, and the coordinators have a leader; else what is missing.
func (c *Client) Health(ctx context.Context) (ok bool, missing string, err error) {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return false, "", err
	}
	if cluster.Health != Healthy {
		return false, cluster.Summary(), nil
	}
	if n := cluster.Partitions.JoiningCopies; n != nil && *n > 0 {
		return false, fmt.Sprintf("%d copies are being brought up to date", *n), nil
	}
	members, err := c.Members(ctx)
	if err != nil {
		return false, "", err
	}
	missing = members.missing(cluster.Partitions.Total)
	return missing == "", missing, nil
}

// missing says what speaks against health in what the members themselves report.
func (m *Members) missing(partitions int) string {
	leader := false
	for _, c := range m.Coordinators {
		leader = leader || c.Leader
	}
	if !leader {
		return "the coordinators have no leader"
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.Copies == 0 || n.Report == nil {
			continue
		}
		if ago := time.Duration(n.Report.HeartbeatMillisAgo) * time.Millisecond; ago > staleHeartbeat || n.State == stateDown {
			return fmt.Sprintf("node %s was last heard of %s ago", n.Node, ago.Round(100*time.Millisecond))
		}
	}
	if open := m.Open(); open < partitions {
		return openSummary(open, partitions)
	}
	return ""
}

// Steady is Health over a stretch of time: ok once every look for so long was. A node that has just been stopped is not known to be
// down for a moment; as long as the stretch is not below a second, that shows.
func (c *Client) Steady(stretch time.Duration) func(ctx context.Context) (ok bool, missing string, err error) {
	var since time.Time
	return func(ctx context.Context) (bool, string, error) {
		ok, missing, err := c.Health(ctx)
		if !ok || err != nil {
			since = time.Time{}
			return false, missing, err
		}
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		if left := stretch - now.Sub(since); left > 0 {
			return false, fmt.Sprintf("healthy, and to stay so for %s", stretch), nil
		}
		return true, "", nil
	}
}
