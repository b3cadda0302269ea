package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/topology"
)

// metric reads one sample without labels from base's /metrics.
func metric(ctx context.Context, base, name string) (float64, error) {
	value, found := 0.0, false
	err := samples(ctx, base, func(sample string, v float64) {
		if sample == name {
			value, found = v, true
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("%s/metrics has no %s", base, name)
	}
	return value, err
}

// samples calls take with each sample of base's /metrics, its labels in the name.
func samples(ctx context.Context, base string, take func(sample string, value float64)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return err
	}
	response, err := plainHTTP.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			return fmt.Errorf("%s/metrics: %q: %w", base, lines.Text(), err)
		}
		take(lines.Text()[:at], value)
	}
	return lines.Err()
}

// transferred is what nodes count of bringing copies up to date, in bytes, by node.
type transferred map[string]transferBytes

// transferBytes is by "DIRECTION VIA CAUSE", as in "in snapshot move".
type transferBytes map[string]float64

var transferLabels = regexp.MustCompile(`(direction|via|cause)="([^"]*)"`)

// transfers asks the nodes that run. A node that was started again counts from zero.
func (f *fixture) transfers(t *testing.T) transferred {
	t.Helper()
	all := transferred{}
	for _, m := range f.Topology().Of(topology.Node) {
		if !f.Running(m.ID) {
			continue
		}
		all[m.ID] = transferBytes{}
		require.NoError(t, samples(t.Context(), m.Endpoint(), func(sample string, value float64) {
			if !strings.HasPrefix(sample, "kring_node_transfer_bytes_total{") {
				return
			}
			labels := map[string]string{}
			for _, l := range transferLabels.FindAllStringSubmatch(sample, -1) {
				labels[l[1]] = l[2]
			}
			all[m.ID][labels["direction"]+" "+labels["via"]+" "+labels["cause"]] = value
		}))
		require.NotEmpty(t, all[m.ID], "%s counts nothing", m.ID)
	}
	return all
}

// since is what came on top of before.
func (now transferred) since(before transferred) transferred {
	more := transferred{}
	for id, counts := range now {
		more[id] = transferBytes{}
		for kind, value := range counts {
			more[id][kind] = value - before[id][kind]
		}
	}
	return more
}

// sum adds up the kinds whose names begin so, over all nodes.
func (now transferred) sum(kind string) (bytes float64) {
	for id := range now {
		bytes += now[id].sum(kind)
	}
	return bytes
}

func (b transferBytes) sum(kind string) (bytes float64) {
	for k, value := range b {
		if strings.HasPrefix(k, kind) {
			bytes += value
		}
	}
	return bytes
}
