package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/masters"
	"github.com/kringdb/kring/coordinator"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

const backupHelp = `Write what the coordinators have decided to FILE: who the nodes are, and who holds
which partition. It has no keys and no values. The leader answers; FILE is
there whole, checked and synced, or not at all, and never overwritten.

A backup is for the day when the coordinators' directories are lost. While most
of them are left, do not restore one: replace those that are lost.`

func newBackup() *cobra.Command {
	var flags masterFlags
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the coordinators' state to a file", Long: backupHelp,
		Example: "  kring coordinator backup /backup/kring-$(date +%F)", Args: arguments(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.call(cmd, func(ctx context.Context, c *masters.Client) error {
				b, err := masters.Backup(ctx, c)
				if err != nil {
					return err
				}
				header, _, err := coordinator.ReadBackup(bytes.NewReader(b))
				if err != nil {
					return fmt.Errorf("what came is no whole backup: %w", err)
				}
				if err := writeWhole(args[0], b); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %d bytes\n", args[0], describeBackup(header), len(b))
				return err
			})
		},
	}
	flags.register(cmd)
	return cmd
}

func describeBackup(h *kringv1.BackupHeader) string {
	return fmt.Sprintf("cluster %s, %d nodes, %d partitions, table version %d, of %s by %s (kring %s)", h.GetClusterId(), h.GetNodes(),
		h.GetPartitions(), h.GetTableVersion(), time.UnixMilli(h.GetUnixMillis()).UTC().Format(time.RFC3339), h.GetCoordinatorId(), h.GetRelease())
}

// writeWhole makes the file, which must not be there. What is written is written beside it, synced, and renamed: the file is whole, or
// empty after a crash.
func writeWhole(path string, b []byte) (err error) {
	taken, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("backup: %s is there already: name a file that is not", path)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := taken.Close(); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return replaceWhole(path, b)
}

func replaceWhole(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("backup: %w", err), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// restoreFlags are those of commands that make a coordinator's directory without a running process.
type restoreFlags struct{ id, data, raft, advertise string }

func (f *restoreFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.id, "id", hostName(), "name of the coordinator that will use the directory")
	cmd.Flags().StringVar(&f.data, "data", "", "directory to make; empty, or not there yet")
	cmd.Flags().StringVar(&f.raft, "raft", coordinatorRaft, "its IP:PORT for raft, as it will be started with")
	cmd.Flags().StringVar(&f.advertise, "advertise-raft", "", "IP:PORT at which others will reach --raft, if another")
}

func (f *restoreFlags) config() (coordinator.RestoreConfig, error) {
	if f.id == "" {
		return coordinator.RestoreConfig{}, exit.Usagef("no --id: name the coordinator")
	}
	c := coordinator.RestoreConfig{ID: f.id, DataDir: f.data, RaftAdvertise: f.raft}
	if f.advertise != "" {
		c.RaftAdvertise = f.advertise
	}
	if f.data == "" {
		return c, exit.Usagef("no --data: say which directory to make, such as --data /var/lib/kring/c1")
	}
	return c, nil
}

const restoreHelp = `Make the directory of a coordinator from a backup, when all coordinators are lost.
Nothing runs while it is made. Then start that coordinator, and add others.

It decides nothing at first. The backup may be old, so it asks every node that it
knows or hears of what the node follows, takes the newest over, and gives every
partition an epoch that was never used. Where a node is gone for good, name it
with 'kring coordinator accept-missing'. Reads and writes go on meanwhile.

The directory must be empty. Make sure that none of the old coordinators runs or
is started again: while one is heard of, the restored one decides nothing.`

func newRestore() *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a coordinator's directory from a backup", Long: restoreHelp,
		Example: "  kring coordinator restore /backup/kring-2026-01-31 --id c1 \\\n      --data /var/lib/kring/c1 --raft 10.0.0.1:7101",
		Args:    arguments(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := flags.config()
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			header, err := coordinator.Restore(config, f)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			return sayRestored(cmd.OutOrStdout(), &flags, "from the backup of "+describeBackup(header))
		},
	}
	flags.register(cmd)
	return cmd
}

func sayRestored(w io.Writer, f *restoreFlags, from string) error {
	_, err := fmt.Fprintf(w, "%s is ready: %s\nstart %s with it, alone; kring status says what it waits for. Then add others, with empty directories\n",
		f.data, from, f.id)
	return err
}
