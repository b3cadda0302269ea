package tables

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

func TestPlaceUpdate(t *testing.T) {
	const place Place = "kring bench something"
	page := "# A\n\n" + place.Begin() + "\nold\n" + place.End() + "\n\nrest\n"
	got, err := place.Update(page, "new | table\n")
	require.NoError(t, err)
	assert.Equal(t, "# A\n\n"+place.Begin()+"\n\nnew | table\n\n"+place.End()+"\n\nrest\n", got)
	again, err := place.Update(got, "new | table\n")
	require.NoError(t, err)
	assert.Equal(t, got, again)
	for _, wrong := range []string{"", place.Begin(), place.End() + place.Begin(), page + page} {
		_, err := place.Update(wrong, "x")
		require.Error(t, err, wrong)
	}
}

func TestTableInBothForms(t *testing.T) {
	table := Table{Title: "Figures:", Header: []string{"step", "a|b"}, Rows: [][]string{{"put", "1"}, {"a long step", "2|3"}}}
	var b bytes.Buffer
	table.Markdown(&b)
	assert.Equal(t, "Figures:\n\n| step | a\\|b |\n|---|---|\n| put | 1 |\n| a long step | 2\\|3 |\n", b.String())
	b.Reset()
	require.NoError(t, WriteText(&b, table))
	assert.Equal(t, "\nFigures:\nstep         a|b\nput          1\na long step  2|3\n", b.String())
}

func TestSpread(t *testing.T) {
	assert.Equal(t, Spread{Median: 2, Lowest: 1, Highest: 9}, SpreadOf([]float64{9, 1, 2}))
	assert.Equal(t, Spread{Median: 3, Lowest: 1, Highest: 9}, SpreadOf([]float64{9, 1, 2, 4}))
	assert.Equal(t, "3.0 (1.0–9.0)", SpreadOf([]float64{9, 1, 2, 4}).Text(1))
	assert.Equal(t, "-", SpreadOf([]float64{0}).Text(1))
}

func TestTakenNamesMachineAndVersions(t *testing.T) {
	text := Taken(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), 200, bench.Machine{Cores: 2, CPU: "A chip ", MemoryBytes: 3 << 29, Kernel: "6.1"},
		bench.Versions{Go: "go1.26", Revision: "0123456789abcdef", Modified: true})
	assert.Equal(t, "Taken on 2026-03-04 in 3 minutes: 2 cores (A chip), 1.5 GiB of memory, Linux 6.1, go1.26, revision 0123456789ab with changes.", text)
}
