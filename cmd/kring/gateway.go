package main

import (
	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/member"
	"github.com/kringdb/kring/gateway"
)

const gatewayHelp = `Run a gateway: REST for people and programs. It keeps a copy of the table and talks straight to the nodes, so it serves on
with every coordinator away. It keeps nothing that cannot be lost; run as many as you like.

/metrics, /livez and /readyz are on --http too.`

const gatewayExamples = `  kring gateway --id g1
  kring gateway --id g1 --insecure --http 10.0.0.9:8080 --gossip 10.0.0.9:7302 \
      --join 10.0.0.1:7102,10.0.0.2:7102,10.0.0.3:7102 \
      --allow-host kv.example.org`

func newGateway() *cobra.Command {
	var (
		flags memberFlags
		http  httpFlags
	)
	cmd := &cobra.Command{
		Use:     "gateway",
		Short:   "Run a gateway",
		Long:    gatewayHelp,
		Example: gatewayExamples,
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			common, err := flags.common(cmd)
			if err != nil {
				return err
			}
			config := member.GatewayConfig{Common: common, HTTP: *http.config()}
			return runMember(cmd, common.Logger, func() (*member.Member, error) { return member.NewGateway(config) })
		},
	}
	flags.register(cmd, gatewayGossip)
	http.register(cmd, gatewayHTTP)
	return cmd
}

// httpFlags are those of a gateway, be it alone or in a node.
type httpFlags struct{ member.HTTP }

func (f *httpFlags) register(cmd *cobra.Command, listen string) {
	what := "IP:PORT for REST"
	if listen == "" {
		what += "; empty: no gateway in this process"
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Listen, "http", listen, what)
	flags.StringVar(&f.Advertise, "advertise-http", "", "IP:PORT at which others reach --http, if another")
	flags.StringSliceVar(&f.AllowedHosts, "allow-host", nil,
		"names a Host header may carry besides IP addresses and localhost; * for any")
	flags.Int64Var(&f.MaxValueBytes, "max-value-bytes", gateway.DefaultConfig().MaxValueBytes, "largest value taken, at most 16777216")
}

func (f *httpFlags) config() *member.HTTP {
	c := f.HTTP
	c.Version = versionName()
	return &c
}
