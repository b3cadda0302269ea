package main

import (
	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/member"
	"github.com/kringdb/kring/coordinator"
)

const coordinatorHelp = `Run a coordinator: one of the masters that keep the membership and the table of who holds what. Run 1, 3 or 5 of them; they
hold no data and are not asked on the way of a read or a write.

A cluster forms by itself: once --bootstrap-coordinators coordinators with empty disks see each other and
--bootstrap-nodes nodes are there, the partitions are laid out. The --bootstrap flags, --partitions, --replicas and
--min-insync count at that moment only.

To a cluster that there is a coordinator is added: start it with --bootstrap-coordinators 0 and --join, and then run
'kring coordinator add ID'. 'kring coordinators' lists them.`

const coordinatorExamples = `  kring coordinator --id c1 --data /var/lib/kring/c1 --bootstrap-coordinators 1
  kring coordinator --id c1 --data /var/lib/kring/c1 --insecure \
      --listen 10.0.0.1:7100 --raft 10.0.0.1:7101 --gossip 10.0.0.1:7102 \
      --join 10.0.0.1:7102,10.0.0.2:7102,10.0.0.3:7102`

func newCoordinator() *cobra.Command {
	var (
		flags  memberFlags
		config member.CoordinatorConfig
	)
	cmd := &cobra.Command{
		Use:     "coordinator",
		Short:   "Run a coordinator",
		Long:    coordinatorHelp,
		Example: coordinatorExamples,
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needData(config.Data, "/var/lib/kring/c1"); err != nil {
				return err
			}
			common, err := flags.common(cmd)
			if err != nil {
				return err
			}
			config.Common, config.Release = common, versionName()
			return runMember(cmd, common.Logger, func() (*member.Member, error) { return member.NewCoordinator(config) })
		},
	}
	flags.register(cmd, coordinatorGossip)
	f, defaults := cmd.Flags(), coordinator.DefaultConfig()
	f.StringVar(&config.Data, "data", "", "directory for the cluster's metadata; one process at a time")
	f.StringVar(&config.Listen, "listen", coordinatorListen, "IP:PORT for gRPC, from nodes and gateways")
	f.StringVar(&config.AdvertiseListen, "advertise-listen", "", "IP:PORT at which others reach --listen, if another")
	f.StringVar(&config.Raft, "raft", coordinatorRaft, "IP:PORT for raft, from other coordinators")
	f.StringVar(&config.AdvertiseRaft, "advertise-raft", "", "IP:PORT at which others reach --raft, if another")
	f.StringVar(&config.Metrics, "metrics", coordinatorMetrics, "IP:PORT for /metrics, /livez and /readyz; empty: none")
	f.IntVar(&config.BootstrapCoordinators, "bootstrap-coordinators", bootstrapCoordinators,
		"coordinators a fresh cluster begins with: 1, 3 or 5; 0: this one is added to a cluster that there is")
	f.IntVar(&config.BootstrapNodes, "bootstrap-nodes", bootstrapNodes, "nodes a fresh cluster begins with")
	f.Uint32Var(&config.Partitions, "partitions", defaults.Partitions, "of a fresh cluster, for good")
	f.Uint32Var(&config.Replicas, "replicas", defaults.Replicas, "copies of every partition of a fresh cluster")
	f.Uint32Var(&config.MinInSync, "min-insync", defaults.MinInSync, "copies without which a partition takes no writes")
	f.DurationVar(&config.SilentAfter, "silent-after", defaults.SilentAfter,
		"a node that sent no heartbeat for this, and that gossip calls dead or another node cannot reach, is down")
	f.DurationVar(&config.HungAfter, "hung-after", defaults.HungAfter,
		"a node without a heartbeat for this is down, as is one whose disk does nothing for this although it should")
	f.DurationVar(&config.OutAfter, "out-after", defaults.OutAfter,
		"copies on a node that is down for this are made anew on others; a restart should take less")
	cmd.AddCommand(newAddCoordinator(), newRemoveCoordinator(), newReplaceCoordinator(), newBackup(), newRestore(), newRebuild(),
		newAcceptMissing())
	return cmd
}

// What a fresh cluster begins with unless told otherwise: the smallest that survives the loss of any one member.
const (
	bootstrapCoordinators = 3
	bootstrapNodes        = 3
)
