// Command kring-bench-peer measures etcd, Redis Cluster and NATS for `kring bench compare`, which starts it. It is a module of its
// own, so that who uses Kring does not carry these systems' clients.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/bench/peers/internal/etcd"
	"github.com/kringdb/kring/bench/peers/internal/nats"
	"github.com/kringdb/kring/bench/peers/internal/redis"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "kring-bench-peer", Short: "Measure peers for kring bench compare, which starts this", SilenceUsage: true, SilenceErrors: true,
	}
	turn := &cobra.Command{
		Use: "turn", Short: "Start, load, measure and stop one system, as standard input says", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return compare.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), open)
		},
	}
	var binaries string
	check := &cobra.Command{
		Use: "check PEER...", Short: "Look whether the peers' servers are there", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, peers []string) error { return present(binaries, peers) },
	}
	check.Flags().StringVar(&binaries, "binaries", filepath.Join("bin", "peers"), "directory of etcd and nats-server")
	root.AddCommand(turn, check)
	return root
}

func open(ctx context.Context, s compare.Setup) (*compare.Running, error) {
	switch s.System {
	case compare.Etcd:
		return etcd.Open(ctx, s)
	case compare.Redis, compare.RedisDefaults:
		return redis.Open(ctx, s)
	case compare.NATS, compare.NATSDefaults:
		return nats.Open(ctx, s)
	}
	return nil, fmt.Errorf("there is no peer %q", s.System)
}

// present is an error that says how to get what is missing.
func present(binaries string, peers []string) error {
	var missing []error
	built := func(name string) {
		if _, err := exec.LookPath(filepath.Join(binaries, name)); err != nil {
			missing = append(missing, fmt.Errorf("%s is not in %s: run `make bench-peers`", name, binaries))
		}
	}
	for _, p := range peers {
		switch p {
		case compare.Etcd:
			built("etcd")
		case compare.NATS:
			built("nats-server")
		case compare.Redis:
			for _, name := range []string{redis.Server, redis.Interpreter} {
				if _, err := exec.LookPath(name); err != nil {
					missing = append(missing, fmt.Errorf("%s is not in PATH: install it (Debian: apt-get install redis-server; "+
						"`systemctl disable --now redis-server` ends the service that comes with it), or leave redis out of --peers", name))
				}
			}
		default:
			missing = append(missing, fmt.Errorf("there is no peer %q", p))
		}
	}
	return errors.Join(missing...)
}
