package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/ring/client"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a cluster, and check what it promised",
		Args:  arguments(0, 0, "a subcommand"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	audit := &cobra.Command{
		Use:   "audit",
		Short: "Write keys, and later check that every acknowledged one is there",
		Args:  arguments(0, 0, "write or verify"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	audit.AddCommand(newBenchAuditWrite(), newBenchAuditVerify())
	cmd.AddCommand(newBenchLoad(), newBenchRun(), audit, newBenchScenario(), newBenchReport(), newBenchDiff(), newBenchRatio(), newBenchHandler(),
		newBenchCompare(), newBenchCompareTurn(), newBenchStandard(), newBenchCost())
	return cmd
}

const (
	targetREST   = "rest"
	targetClient = "client"
)

// benchTarget is the flags that say what is measured.
type benchTarget struct {
	kind         string
	addresses    []string
	coordinators []string
	connections  int
	timeout      time.Duration
}

func (f *benchTarget) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "target", targetREST, "rest: through gateways; client: the Go client, straight to the nodes")
	cmd.Flags().StringSliceVar(&f.addresses, "addr", []string{defaultAddr}, "rest: gateways, used in turn")
	cmd.Flags().StringSliceVar(&f.coordinators, "coordinators", nil, "client: the coordinators' gRPC addresses, as kring dev prints them")
	cmd.Flags().IntVar(&f.connections, "connections", 64, "rest: connections to each gateway")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "of one request")
}

func (f *benchTarget) open(ctx context.Context) (bench.Target, error) {
	if f.timeout <= 0 || f.connections <= 0 {
		return nil, exit.Usagef("--timeout and --connections must be above 0")
	}
	switch f.kind {
	case targetREST:
		t, err := bench.NewREST(bench.RESTConfig{Addresses: f.addresses, Connections: f.connections, Timeout: f.timeout})
		return t, exit.With(exit.Usage, err)
	case targetClient:
		if len(f.coordinators) == 0 {
			return nil, exit.Usagef("--target client needs --coordinators: their gRPC addresses, such as " + coordinatorListen +
				" (kring dev prints its own)")
		}
		opening, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return bench.OpenClient(opening, client.Config{Seeds: client.StaticSeeds(f.coordinators...), Timeout: f.timeout})
	}
	return nil, exit.Usagef("--target %q: write rest or client", f.kind)
}

// with opens the target, hands it to do until a signal, and closes it.
func (f *benchTarget) with(cmd *cobra.Command, do func(ctx context.Context, t bench.Target) error) (err error) {
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	target, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return do(ctx, target)
}
