package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/listen"
	"github.com/kringdb/kring/cmd/internal/logging"
	"github.com/kringdb/kring/cmd/internal/member"
	"github.com/kringdb/kring/cmd/internal/service"
)

// Default ports, one range a role, so that one member of each runs on a machine without a word about ports.
const (
	coordinatorListen  = "127.0.0.1:7100"
	coordinatorRaft    = "127.0.0.1:7101"
	coordinatorGossip  = "127.0.0.1:7102"
	coordinatorMetrics = "127.0.0.1:7103"
	nodeListen         = "127.0.0.1:7200"
	nodeGossip         = "127.0.0.1:7202"
	nodeMetrics        = "127.0.0.1:7203"
	gatewayGossip      = "127.0.0.1:7302"
	gatewayHTTP        = "127.0.0.1:8080"
)

// memberFlags are those of every member of a cluster.
type memberFlags struct {
	id, cluster, gossip, advertiseGossip string
	join                                 []string
	insecure                             bool
	log                                  logFlags
}

func (f *memberFlags) register(cmd *cobra.Command, gossip string) {
	flags := cmd.Flags()
	flags.StringVar(&f.id, "id", hostName(), "name of this member, for good; unique in the cluster")
	flags.StringVar(&f.cluster, "cluster-name", "kring", "members of other names are not seen")
	flags.StringVar(&f.gossip, "gossip", gossip, "IP:PORT for gossip, UDP and TCP")
	flags.StringVar(&f.advertiseGossip, "advertise-gossip", "", "IP:PORT at which others reach --gossip, if another")
	flags.StringSliceVar(&f.join, "join", []string{coordinatorGossip},
		"gossip addresses of the coordinators, with commas between")
	flags.BoolVar(&f.insecure, "insecure", false,
		"listen where other machines can connect although nothing is encrypted or authenticated: the network is trusted")
	f.log.register(cmd, "info")
}

func (f *memberFlags) common(cmd *cobra.Command) (member.Common, error) {
	logger, err := f.log.logger(cmd)
	if err != nil {
		return member.Common{}, err
	}
	if f.id == "" {
		return member.Common{}, exit.Usagef("no --id, and the host has no name: name this member")
	}
	return member.Common{
		ID: f.id, ClusterName: f.cluster, Gossip: f.gossip, AdvertiseGossip: f.advertiseGossip, Join: f.join,
		Insecure: f.insecure, Logger: logger.With("member", f.id),
	}, nil
}

// logFlags say how a member logs to standard error.
type logFlags struct{ format, level string }

func (f *logFlags) register(cmd *cobra.Command, level string) {
	cmd.Flags().StringVar(&f.format, "log-format", logging.Text, "text or json")
	cmd.Flags().StringVar(&f.level, "log-level", level, "debug, info, warn or error")
}

func (f *logFlags) logger(cmd *cobra.Command) (*slog.Logger, error) {
	logger, err := logging.New(cmd.ErrOrStderr(), f.format, f.level)
	return logger, exit.With(exit.Usage, err)
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// runMember runs what open makes until a signal.
func runMember(cmd *cobra.Command, logger *slog.Logger, open func() (*member.Member, error)) error {
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	m, err := open()
	if err != nil {
		if errors.Is(err, listen.ErrExposed) || errors.Is(err, listen.ErrAddress) {
			return exit.With(exit.Usage, err)
		}
		return err
	}
	logger.Info("started", "version", versionName(), "grpc", m.GRPC(), "gossip", m.Gossip(), "http", m.HTTP(),
		"metrics", m.Metrics(), "pid", os.Getpid())
	context.AfterFunc(ctx, func() { logger.Info("stopping") })
	if err := m.Run(ctx); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

// needData makes a missing data directory an error of usage.
func needData(dir, example string) error {
	if dir == "" {
		return exit.Usagef("no --data: say where to keep what must survive, such as --data %s", example)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}
