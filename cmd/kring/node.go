package main

import (
	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/member"
	"github.com/kringdb/kring/ring"
)

const nodeHelp = `Run a storage node: it keeps copies of partitions on its disk, leads some of them, and follows the primaries of the others.
With --http it is a gateway too.

The directory belongs to the node of this --id and to the cluster that accepted it; in the hands of another it refuses to
serve.`

const nodeExamples = `  kring node --id n1 --data /var/lib/kring/n1
  kring node --id n2 --data /var/lib/kring/n2 --listen 127.0.0.1:7210 \
      --gossip 127.0.0.1:7212 --metrics 127.0.0.1:7213
  kring node --id n3 --data /var/lib/kring/n3 --insecure --zone rack-2 \
      --listen 10.0.0.5:7200 --gossip 10.0.0.5:7202 \
      --join 10.0.0.1:7102,10.0.0.2:7102,10.0.0.3:7102`

func newNode() *cobra.Command {
	var (
		flags  memberFlags
		config member.NodeConfig
		http   httpFlags
	)
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "Run a storage node",
		Long:    nodeHelp,
		Example: nodeExamples,
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needData(config.Data, "/var/lib/kring/n1"); err != nil {
				return err
			}
			common, err := flags.common(cmd)
			if err != nil {
				return err
			}
			config.Common = common
			if http.Listen != "" {
				config.HTTP = http.config()
			}
			return runMember(cmd, common.Logger, func() (*member.Member, error) { return member.NewNode(config) })
		},
	}
	flags.register(cmd, nodeGossip)
	http.register(cmd, "")
	f := cmd.Flags()
	f.StringVar(&config.Data, "data", "", "directory for the data; one process at a time")
	f.StringVar(&config.Listen, "listen", nodeListen, "IP:PORT for gRPC, from gateways and other nodes")
	f.StringVar(&config.AdvertiseListen, "advertise-listen", "", "IP:PORT at which others reach --listen, if another")
	f.StringVar(&config.Metrics, "metrics", nodeMetrics, "IP:PORT for /metrics, /livez and /readyz; empty: none")
	f.StringVar(&config.Zone, "zone", "", "copies of a partition are spread over zones; empty: a zone of its own")
	f.Uint32Var(&config.Weight, "weight", ring.DefaultWeight, "share of the data; 100 is the common one")
	return cmd
}
