package ring

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite testdata; a change of the layout strands data, so never for a released one")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "the layout has changed: clusters in use would not find their data")
}

func TestGoldenPartitions(t *testing.T) {
	keys := []string{
		"", "a", "key", "users/42", "a//b", "..", "%2e", "\x00", "\xff\xfe", "snow ☃ man", "trailing/",
		"{tag}x", "x{tag}", "tag", "{tag}", "{}x", "{}", "{", "}", "}{tag}", "{{tag}}", "{tag", "{a}{b}", "{}{tag}", "{\x00}z",
		strings.Repeat("k", MaxKeyBytes),
	}
	var out strings.Builder
	for _, key := range keys {
		name := fmt.Sprintf("%q", key)
		if len(key) > 100 {
			name = fmt.Sprintf("%q×%d", key[:1], len(key))
		}
		fmt.Fprintf(&out, "%s", name)
		for _, partitions := range []uint32{1, 7, 1024, 4096, 16384} {
			fmt.Fprintf(&out, " %d/%d", PartitionOf([]byte(key), partitions), partitions)
		}
		fmt.Fprintln(&out)
	}
	golden(t, "partitions.golden", out.String())
}

func TestGoldenPreferred(t *testing.T) {
	var out strings.Builder
	for _, size := range []struct {
		members    int
		partitions uint32
	}{{1, 16}, {3, 64}, {5, 64}, {10, 128}, {3, 1024}, {50, 4096}, {100, 4096}, {300, 16384}} {
		owners, err := Preferred(names(size.members), size.partitions)
		require.NoError(t, err)
		digest := xxhash.New()
		var list []string
		for _, owner := range owners {
			list = append(list, string(owner))
		}
		_, _ = digest.WriteString(strings.Join(list, " ")) // never fails
		fmt.Fprintf(&out, "members %d, partitions %d: xxhash %016x\n", size.members, size.partitions, digest.Sum64())
		if size.partitions <= 128 {
			fmt.Fprintf(&out, "  %s\n", strings.Join(list, " "))
		}
	}
	golden(t, "preferred.golden", out.String())
}

func names(n int) []NodeID {
	var ids []NodeID
	for i := range n {
		ids = append(ids, NodeID(fmt.Sprintf("n%d", i+1)))
	}
	return ids
}
