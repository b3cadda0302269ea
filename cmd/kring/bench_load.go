package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// benchKeys is the flags that say which keys and values there are.
type benchKeys struct {
	bench.Keys
	sizes string
	seed  uint64
}

func (f *benchKeys) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Uint64Var(&f.Count, "keys", 100_000, "number of keys")
	flags.StringVar(&f.Prefix, "key-prefix", bench.DefaultKeyPrefix, "of every key")
	flags.StringVar(&f.sizes, "value-size", "128", "bytes of a value, or uniform:LEAST-MOST, zipfian:LEAST-MOST, histogram:FILE")
	flags.Uint64Var(&f.seed, "seed", 1, "the same seed chooses the same operations and sizes")
}

const benchLoadHelp = `Write each key once, for 'kring bench run' to work on, and return when all are acknowledged. A refused write is tried again
(--attempts); a load that ends without an error has written every key. The same --keys, --key-prefix, --value-size and --seed
make the same keys and values. --first goes on where another load ended, or shares one among machines; --rate spares a
cluster that has other users.`

func newBenchLoad() *cobra.Command {
	var (
		target benchTarget
		keys   benchKeys
		config bench.LoadConfig
		quiet  bool
	)
	cmd := &cobra.Command{
		Use: "load", Short: "Write the keys that runs work on", Long: benchLoadHelp,
		Example: `  kring bench load --keys 1000000 --value-size 1024
  kring bench load --first 1000000 --keys 500000 --rate 2000`,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if config.Sizes, err = bench.ParseSizes(keys.sizes); err != nil {
				return exit.With(exit.Usage, err)
			}
			if keys.Count == 0 || config.Rate < 0 || config.Workers < 1 || config.Attempts < 1 {
				return exit.Usagef("--keys, --workers and --attempts must be 1 or more, --rate 0 or more")
			}
			config.Keys, config.Seed = keys.Keys, keys.seed
			return target.with(cmd, func(ctx context.Context, t bench.Target) error {
				config.Target = t
				return benchLoad(ctx, config, cmd.OutOrStdout(), quiet)
			})
		},
	}
	target.register(cmd)
	keys.register(cmd)
	flags := cmd.Flags()
	flags.Uint64Var(&config.First, "first", 0, "number of the first key: --keys of them are written from there on")
	flags.IntVar(&config.Workers, "workers", 64, "writes at a time")
	flags.IntVar(&config.Attempts, "attempts", 10, "for one key, after errors that a retry may help")
	flags.Float64Var(&config.Rate, "rate", 0, "writes a second at most; 0: as fast as they are answered")
	flags.BoolVar(&quiet, "quiet", false, "print the last line only")
	return cmd
}

// benchLoad loads, with a line a second unless quiet.
func benchLoad(ctx context.Context, c bench.LoadConfig, text io.Writer, quiet bool) error {
	if !quiet {
		c.OnSecond = func(written uint64) { fmt.Fprintf(text, "load: %d of %d keys\n", written, c.Keys.Count) }
	}
	loaded, err := bench.Load(ctx, c)
	if err != nil {
		return err
	}
	seconds := loaded.Elapsed.Seconds()
	fmt.Fprintf(text, "loaded %d keys in %.1f s: %.0f/s\n", loaded.Keys, seconds, float64(loaded.Keys)/max(seconds, 1e-9))
	return nil
}
