package compare

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDifferences(t *testing.T) {
	whole := Guarantee{Copies: 3, Acknowledged: 3, Synced: 3, Sync: "all", Reads: Linearizable}
	majority := Guarantee{Copies: 3, Acknowledged: 2, Synced: 2, Sync: "a majority", Reads: Linearizable}
	two := Guarantee{Copies: 2, Acknowledged: 2, Synced: 2, Sync: "both", Reads: FromPrimary}
	unsynced := Guarantee{Copies: 2, Acknowledged: 2, Sync: "everysec", Reads: FromPrimary}
	nothing := Guarantee{Sync: "none", Reads: NoStore}
	for name, test := range map[string]struct {
		a, b Guarantee
		does Access
		want []string
	}{
		"equal":                           {whole, whole, Reading | Writing, nil},
		"reads of equal stores":           {whole, majority, Reading, nil},
		"fewer have an acknowledged one":  {whole, majority, Writing, []string{"copies that have an acknowledged write: a 3, b 2", "of those synced: a 3, b 2"}},
		"fewer copies count for reads":    {whole, two, Reading, []string{"copies: a 3, b 2", "reads: a linearizable, b of the primary"}},
		"weaker reads matter to no write": {two, Guarantee{2, 2, 2, "both", AnyCopy}, Writing, nil},
		"a sync that is missing":          {two, unsynced, Writing, []string{"of those synced: a 2, b 0"}},
		"mixed":                           {two, Guarantee{2, 2, 1, "one", AnyCopy}, Reading | Writing, []string{"of those synced: a 2, b 1", "reads: a of the primary, b of any copy, which may be old"}},
		"no store":                        {whole, nothing, Reading, []string{"b stores nothing"}},
		"no store, the other way":         {nothing, whole, Reading, []string{"a stores nothing"}},
		"no stores":                       {nothing, nothing, Reading, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Differences(Side{"a", test.a}, Side{"b", test.b}, test.does)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	for _, unstated := range []Guarantee{{}, {Copies: 3, Reads: Linearizable}, {Copies: 3, Sync: "all"}} {
		_, err := Differences(Side{"a", whole}, Side{"b", unstated}, Writing)
		require.ErrorIs(t, err, errUnstated)
		_, err = Differences(Side{"a", unstated}, Side{"b", whole}, Writing)
		require.ErrorIs(t, err, errUnstated)
	}
}
