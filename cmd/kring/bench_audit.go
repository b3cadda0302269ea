package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/output"
)

const benchAuditHelp = `Write keys that nobody else writes, once each, and keep in a file which of them were acknowledged. 'kring bench audit
verify' reads the file, then every key, through this or another gateway, now or after any fault, and fails if one that was
acknowledged is missing, has other bytes or is at an older version.`

func newBenchAuditWrite() *cobra.Command {
	var (
		target   benchTarget
		settings bench.AuditSettings
		file     string
		workers  int
		attempts int
	)
	cmd := &cobra.Command{
		Use: "write", Short: "Write keys and keep which were acknowledged", Long: benchAuditHelp,
		Example: "  kring bench audit write --keys 100000 --acks acks.txt",
		Args:    arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return target.with(cmd, func(ctx context.Context, t bench.Target) (err error) {
				acks, err := bench.CreateAcks(file, settings)
				if err != nil {
					return err
				}
				audit := bench.Audit{Target: t, Acks: acks, Workers: workers, Attempts: attempts}
				audit.OnSecond = benchProgress(cmd, settings.Count)
				report, err := audit.Write(ctx)
				return errors.Join(err, acks.Close(), output.Write(cmd.OutOrStdout(), report))
			})
		},
	}
	target.register(cmd)
	cmd.Flags().Uint64Var(&settings.Count, "keys", 100_000, "number of keys")
	cmd.Flags().StringVar(&settings.Prefix, "key-prefix", "audit", "of every key")
	cmd.Flags().IntVar(&settings.ValueSize, "value-size", 128, "bytes of a value, 16 or more")
	cmd.Flags().Uint64Var(&settings.Seed, "seed", 1, "of the values")
	benchAuditFlags(cmd, &file, &workers)
	cmd.Flags().IntVar(&attempts, "attempts", 1, "for one key, after errors that a retry may help")
	return cmd
}

func newBenchAuditVerify() *cobra.Command {
	var (
		target   benchTarget
		file     string
		workers  int
		attempts int
	)
	cmd := &cobra.Command{
		Use: "verify", Short: "Check every key that was acknowledged", Long: benchAuditHelp,
		Example: "  kring bench audit verify --acks acks.txt --addr http://127.0.0.1:8081",
		Args:    arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			acks, err := bench.ReadAcks(file)
			if err != nil {
				return err
			}
			return target.with(cmd, func(ctx context.Context, t bench.Target) error {
				audit := bench.Audit{Target: t, Acks: acks, Workers: workers, Attempts: attempts}
				audit.OnSecond = benchProgress(cmd, acks.Settings.Count)
				report, err := audit.Verify(ctx)
				return errors.Join(err, output.Write(cmd.OutOrStdout(), report), report.Err())
			})
		},
	}
	target.register(cmd)
	benchAuditFlags(cmd, &file, &workers)
	cmd.Flags().IntVar(&attempts, "attempts", 10, "to read one key, after errors that a retry may help")
	return cmd
}

// benchProgress goes beside the report, which is for programs.
func benchProgress(cmd *cobra.Command, keys uint64) func(uint64) {
	return func(done uint64) { fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d keys\n", done, keys) }
}

func benchAuditFlags(cmd *cobra.Command, file *string, workers *int) {
	cmd.Flags().StringVar(file, "acks", "kring-acks.txt", "file of acknowledgements")
	cmd.Flags().IntVar(workers, "workers", 64, "operations at a time")
}
