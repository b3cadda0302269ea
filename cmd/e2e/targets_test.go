package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/targettest"
	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/ring/client"
)

// What every target of the bench must do, a whole cluster does: by REST, and with the Go client.
func testTargets(t *testing.T, f *fixture) {
	t.Run("rest", func(t *testing.T) {
		target, err := bench.NewREST(bench.RESTConfig{Addresses: f.bases})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, target.Close()) })
		targettest.Run(t, target, "rest/")
	})
	t.Run("client", func(t *testing.T) {
		var seeds []string
		for _, m := range f.Topology().Of(topology.Coordinator) {
			seeds = append(seeds, m.Listen)
		}
		ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
		defer cancel()
		target, err := bench.OpenClient(ctx, client.Config{Seeds: client.StaticSeeds(seeds...)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, target.Close()) })
		targettest.Run(t, target, "client/")
	})
}
