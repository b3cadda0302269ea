package ring

import (
	"testing"

	"github.com/buraksezer/consistent"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHashedPart(t *testing.T) {
	for key, want := range map[string]string{
		"":           "",
		"plain":      "plain",
		"{tag}":      "tag",
		"a{tag}b":    "tag",
		"{a}{b}":     "a",
		"{}":         "{}",
		"{}{tag}":    "{}{tag}", // the first pair of braces decides, even if it is empty
		"a{}b":       "a{}b",
		"{":          "{",
		"}":          "}",
		"}{":         "}{",
		"}a{tag}":    "tag",
		"{tag":       "{tag",
		"{{tag}}":    "{tag",
		"{a/b c}":    "a/b c",
		"{\x00\xff}": "\x00\xff",
	} {
		require.Equal(t, want, string(HashedPart([]byte(key))), "of %q", key)
	}
}

func TestPartitionOfIsTheLibrarys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.Uint32Range(1, MaxPartitions).Draw(t, "partitions")
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		library := consistent.New(nil, consistent.Config{Hasher: libraryHasher{}, PartitionCount: int(partitions)})
		require.Equal(t, library.FindPartitionID(HashedPart(key)), int(PartitionOf(key, partitions)))
	})
}

func TestOneTagOnePartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := rapid.StringMatching(`[^{}]+`).Draw(t, "tag")
		before, after := rapid.StringMatching(`[^{]*`).Draw(t, "before"), rapid.String().Draw(t, "after")
		require.Equal(t, PartitionOf([]byte(tag), 4096), PartitionOf([]byte(before+"{"+tag+"}"+after), 4096))
	})
}

func TestPartitionOfDoesNotAllocate(t *testing.T) {
	key := []byte("some/{tag}/key")
	require.Zero(t, testing.AllocsPerRun(100, func() { PartitionOf(key, 1024) }))
}
