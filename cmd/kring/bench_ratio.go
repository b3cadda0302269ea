package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/listen"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/service"
)

const benchRatioHelp = `Read two URLs under the same closed loop, in turns, and print the ratio of their throughput, round by round and its
median. {key} in a URL's path stands for one of --keys keys, evenly chosen, as 'kring bench run --load' writes them.

What a gateway costs beside a bare handler:

  kring bench handler --http 127.0.0.1:9090 &
  kring bench ratio --a 'http://127.0.0.1:8080/v1/kv/{key}' \
      --b 'http://127.0.0.1:9090/v1/kv/{key}'`

func newBenchRatio() *cobra.Command {
	var (
		a, b        string
		connections int
		keys        bench.Keys
		config      bench.RatioConfig
		format      string
	)
	cmd := &cobra.Command{
		Use: "ratio", Short: "Compare the reads of two URLs in one run", Long: benchRatioHelp,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			targetA, err := bench.NewURL(a, connections)
			if err != nil {
				return exit.Usagef("--a: %w", err)
			}
			targetB, err := bench.NewURL(b, connections)
			if err != nil {
				return exit.Usagef("--b: %w", err)
			}
			// Other servers' values carry no checksum, so size 0 leaves them unchecked.
			if config.Workload, err = bench.NewMix(bench.MixConfig{Workload: "get", Keys: keys, Seed: 1}); err != nil {
				return exit.With(exit.Usage, err)
			}
			defer func() { err = errors.Join(err, targetA.Close(), targetB.Close()) }()
			ctx, stop := service.UntilSignal(cmd.Context())
			defer stop()
			config.A, config.B, config.Workers = targetA, targetB, connections
			text := cmd.OutOrStdout()
			if format != output.JSON {
				config.OnRound = func(r bench.Round) {
					fmt.Fprintf(text, "round %d: a %.0f/s, b %.0f/s, ratio %.3f (generator at %.0f%% of its CPU)\n",
						r.Number, r.A, r.B, r.Ratio, 100*r.CPU)
				}
			}
			ratios, err := bench.Ratio(ctx, config)
			if err != nil {
				return err
			}
			if format == output.JSON {
				return output.Write(text, ratios)
			}
			_, err = fmt.Fprintf(text, "median ratio a/b: %.3f\n", ratios.Median)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&a, "a", defaultAddr+"/v1/kv/{key}", "URL that is compared")
	flags.StringVar(&b, "b", "http://127.0.0.1:9090/v1/kv/{key}", "URL that it is compared with")
	flags.IntVar(&connections, "connections", 64, "to each")
	flags.DurationVar(&config.Duration, "duration", 5*time.Second, "of one turn")
	flags.DurationVar(&config.WarmUp, "warm-up", 500*time.Millisecond, "before each turn")
	flags.IntVar(&config.Rounds, "rounds", 3, "turns of each")
	flags.Uint64Var(&keys.Count, "keys", 100_000, "number of keys for {key}")
	flags.StringVar(&keys.Prefix, "key-prefix", bench.DefaultKeyPrefix, "of every key")
	outputFlag(cmd, &format)
	return cmd
}

func newBenchHandler() *cobra.Command {
	var (
		address  string
		size     int
		insecure bool
	)
	cmd := &cobra.Command{
		Use: "handler", Short: "Serve one value from memory, to compare a gateway with",
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := listen.TCP(address, insecure)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if size < 0 {
				return exit.Usagef("--value-size %d: must be 0 or more", size)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "serving %d bytes on http://%s/v1/kv/\n", size, listener.Addr())
			ctx, stop := service.UntilSignal(cmd.Context())
			defer stop()
			return serveUntil(ctx, listener, bench.NewBareHandler(size))
		},
	}
	cmd.Flags().StringVar(&address, "http", "127.0.0.1:9090", "where to listen")
	cmd.Flags().IntVar(&size, "value-size", 128, "bytes of the value")
	cmd.Flags().BoolVar(&insecure, "insecure", false, "listen where other machines can reach it")
	return cmd
}

// serveUntil serves HTTP until ctx ends.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
