package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

func FuzzParseTags(f *testing.F) {
	for _, s := range []string{`*`, `"1"`, `"1", W/"2",,"x"`, ``, `1`, `"1`, `W/`, `"1" "2"`, `"18446744073709551616"`, `"01"`, ` * `} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseTags("If-Match", []string{s})
		if err != nil {
			return
		}
		require.True(t, list.present)
		require.Subset(t, list.weak, list.strong)
		require.LessOrEqual(t, len(list.weak), maxTags)
		for _, v := range list.weak { // each is spelt out in what was sent
			require.Contains(t, s, fmt.Sprintf(`"%d"`, v))
			require.NotZero(t, v)
		}
		if !list.any {
			require.Contains(t, s, `"`)
		}
	})
}

func TestManyTags(t *testing.T) {
	tags := strings.Repeat(`"1",`, maxTags)
	list, err := parseTags("If-Match", []string{tags})
	require.NoError(t, err)
	require.Len(t, list.strong, maxTags)
	_, err = parseTags("If-Match", []string{tags + `"2"`})
	require.Error(t, err)
}

func FuzzParseTimeout(f *testing.F) {
	for _, s := range []string{"1", "1s", "0.5", "1h", "-1", "1e9", "", ".", "1_0", "0x1", "9999999999h", "1ns", "Inf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseTimeout("timeout=", s, time.Minute)
		if err == nil {
			require.Positive(t, d)
			require.LessOrEqual(t, d, time.Minute)
		}
	})
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=1-0", "bytes=,", "bytes=0-1,3-", "bytes=--1"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		spans, ok := parseRange(s, size)
		if !ok {
			require.Empty(t, spans)
		}
		for _, p := range spans {
			require.GreaterOrEqual(t, p.start, int64(0))
			require.Positive(t, p.n)
			require.LessOrEqual(t, p.n, size-p.start)
		}
	})
}

func TestAppendEpoch(t *testing.T) {
	for _, e := range []ring.Epoch{0, 1, ring.NewEpoch(0, 1<<48-1), ring.NewEpoch(3, 7), ring.NewEpoch(65535, 1<<48-1)} {
		require.Equal(t, e.String(), string(appendEpoch(nil, e)))
	}
}

func TestAppendMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.000", time.Microsecond: "0.001", 1234567 * time.Nanosecond: "1.234", -time.Second: "0.000", 2 * time.Second: "2000.000",
	} {
		require.Equal(t, want, string(appendMillis(nil, d)))
	}
}
