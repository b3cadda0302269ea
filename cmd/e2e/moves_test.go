package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// movedWithin bounds how long copies may take to come to where they should be.
const movedWithin = 3 * time.Minute

// A sixth node joins a cluster under load and gets its share, then another is drained: no request fails, no key is lost, and each
// time copies and leads are even in the end.
func TestNodesComeAndGo(t *testing.T) {
	skipIfShort(t)
	f := startWithout(t, topology.Request{Coordinators: 3, Nodes: 6, Gateways: 2, Partitions: 256}, "n6")
	n := keyCount(t)
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error { return f.putInTheEnd(ctx, i, 0) }))
	stop := f.load(t, n)

	require.NoError(t, f.Start("n6"))
	f.waitEven(t, []string{"n1", "n2", "n3", "n4", "n5", "n6"})

	response, body := call(t, http.MethodPost, f.bases[0]+"/v1/operations", []byte(`{"kind":"drain","node":"n2"}`),
		"Content-Type", "application/json")
	require.Equal(t, http.StatusAccepted, response.StatusCode, "%s", body)
	f.waitEven(t, []string{"n1", "n3", "n4", "n5", "n6"})

	requests := stop()
	t.Logf("%d requests meanwhile, none failed", requests)
	require.Greater(t, requests, int64(1000))
	f.readAll(t, 0, n, 0)
	f.audit(t, n)
}

// startWithout starts all but one node, with which the cluster does not wait to be laid out.
func startWithout(t *testing.T, request topology.Request, later string) *fixture {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	request.Dir = t.TempDir()
	layout, err := topology.New(request)
	require.NoError(t, err)
	runner := procs.Runner{
		Binary: kring, LogDir: filepath.Join(request.Dir, "logs"), Env: procs.Limits(len(layout.Members)),
		Adapt: func(_ topology.Member, c *procs.Command) { expectNodes(layout, c, 1) },
	}
	return startLaidOut(t, request.Dir, layout, runner, later)
}

// expectNodes has coordinators lay the cluster out without so many of its nodes.
func expectNodes(layout *topology.Topology, c *procs.Command, later int) {
	if at := slices.Index(c.Args, "--bootstrap-nodes"); at >= 0 {
		c.Args[at+1] = strconv.Itoa(len(layout.Of(topology.Node)) - later)
	}
}

// load reads and writes until it is stopped, which says how many requests that were. None may fail.
func (f *fixture) load(t *testing.T, n int) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var requests atomic.Int64
	var working sync.WaitGroup
	for caller := range callers / 4 {
		working.Go(func() {
			for i := caller; ctx.Err() == nil; i += callers / 4 {
				if err := f.mixed(t.Context(), i, n); err != nil {
					t.Errorf("after %d requests: %v", requests.Load(), err)
					return
				}
				requests.Add(2)
			}
		})
	}
	return func() int64 {
		cancel()
		working.Wait()
		return requests.Load()
	}
}

// waitEven waits until these nodes, and no others, hold and lead evenly what there is, and nothing is on its way.
func (f *fixture) waitEven(t *testing.T, nodes []string) {
	t.Helper()
	f.waitEvenFor(t, movedWithin, nodes)
}

func (f *fixture) waitEvenFor(t *testing.T, within time.Duration, nodes []string) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	state := ""
	require.NoError(t, f.rest[0].Wait(ctx, func(ctx context.Context) (bool, string, error) {
		ring := &rest.Ring{}
		if err := f.rest[0].JSON(ctx, rest.RingPath, nil, ring); err != nil {
			return false, "", err
		}
		copies, leads, moving := map[string]int{}, map[string]int{}, 0
		for i := range ring.Partitions {
			p := &ring.Partitions[i]
			if len(p.Joining) > 0 || len(p.InSync) != int(f.Topology().Replicas) {
				moving++
			}
			for _, r := range p.InSync {
				copies[r.Node]++
			}
			leads[p.Primary.Node]++
		}
		state = fmt.Sprintf("copies %v, leads %v, %d partitions on their way", copies, leads, moving)
		even := func(counts map[string]int, most float64) bool {
			total, highest := 0, 0
			for id, count := range counts {
				if !slices.Contains(nodes, id) {
					return false
				}
				total, highest = total+count, max(highest, count)
			}
			return len(counts) == len(nodes) && float64(highest) <= most*float64(total)/float64(len(nodes))
		}
		return moving == 0 && even(copies, 1.08) && even(leads, 1.10), state, nil
	}), "even over %v", nodes)
	t.Logf("%v: even after %v: %s", nodes, time.Since(began).Round(100*time.Millisecond), state)
}
