package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// compareTurn is the hidden command whose process measures one of Kring's own systems for bench compare.
const compareTurn = "compare-turn"

func newBenchCompareTurn() *cobra.Command {
	return &cobra.Command{
		Use: compareTurn, Hidden: true, Short: "Measure one system for bench compare",
		Args: arguments(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := service.UntilSignal(cmd.Context())
			defer stop()
			return compare.Serve(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), openCompared)
		},
	}
}

// openCompared starts one of Kring's own systems.
func openCompared(ctx context.Context, s compare.Setup) (*compare.Running, error) {
	switch s.System {
	case compare.Kring, compare.KringTwo, compare.KringREST:
		return openComparedCluster(ctx, s)
	case compare.Handler:
		return openComparedHandler(ctx, s)
	}
	return nil, fmt.Errorf("there is no system %q", s.System)
}

const comparedNodes = 3

func openComparedCluster(ctx context.Context, s compare.Setup) (running *compare.Running, err error) {
	copies := 3
	if s.System == compare.KringTwo {
		copies = 2
	}
	c, err := startMeasured(ctx, s.Dir, comparedNodes, copies)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	running = &compare.Running{Close: c.Close, Info: compare.Info{
		Title: "Kring", Version: versionName(), Servers: "3 nodes and 1 coordinator, with a gateway",
		Guarantee: compare.Guarantee{
			Copies: copies, Acknowledged: copies, Synced: copies, Sync: "every in-sync copy before the answer", Reads: compare.Linearizable,
		},
	}}
	if s.System == compare.KringREST {
		running.Info.Client = "HTTP/1.1, 64 connections (fasthttp)"
		running.Target, err = openMeasuredREST(c.Topology())
	} else {
		running.Info.Servers, running.Info.Client = "3 nodes and 1 coordinator", "the Go client, one for all callers"
		running.Target, err = withoutGateway(ctx, c)
	}
	running.Processes = runningMembers(c)
	return running, err
}

// withoutGateway opens the Go client, and stops the gateway, which was there to say that the cluster is whole.
func withoutGateway(ctx context.Context, c *cluster.Cluster) (bench.Target, error) {
	t := c.Topology()
	if err := c.Stop(t.First(topology.Gateway).ID); err != nil {
		return nil, err
	}
	return openMeasuredClient(ctx, t)
}

// openComparedHandler starts the bare handler in a process of its own.
func openComparedHandler(ctx context.Context, s compare.Setup) (*compare.Running, error) {
	p, url, err := startBareHandler(ctx, s.Dir, s.ValueSize)
	if err != nil {
		return nil, err
	}
	end := func() error { return p.Stop(measuredTimeout) }
	target, err := bench.NewURL(url+"{key}", 64)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &compare.Running{
		Target: target, Close: end, Unverified: true,
		Processes: map[string]bench.ProcessRef{s.System: {Pid: p.Pid()}},
		Info: compare.Info{
			Title: "net/http and chi", Servers: "1 process that answers with one value from memory",
			Client: "HTTP/1.1, 64 connections (fasthttp)", Guarantee: compare.Guarantee{Sync: "none", Reads: compare.NoStore},
		},
	}, nil
}
