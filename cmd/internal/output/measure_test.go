package output

import (
	"math"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestBar(t *testing.T) {
	for _, test := range []struct {
		share float64
		text  string
	}{
		{-1, "····"},
		{0, "····"},
		{math.NaN(), "····"},
		{1e-9, "▏···"},
		{0.25, "█···"},
		{0.40, "█▌··"},
		{0.5, "██··"},
		{1 - 1e-9, "███▉"},
		{1, "████"},
		{7, "████"},
		{math.Inf(1), "████"},
	} {
		require.Equal(t, test.text, Bar(test.share, 4), "%f", test.share)
	}
	require.Empty(t, Bar(0.5, 0))
	require.Empty(t, Bar(0.5, -3))
	for i := range 1001 {
		require.Equal(t, 7, utf8.RuneCountInString(Bar(float64(i)/1000, 7)))
	}
}

func TestMeasures(t *testing.T) {
	require.Equal(t, []string{"0%", "0%", "0%", "62%", "99%", "100%", "100%"}, []string{
		Percent(math.NaN()), Percent(-1), Percent(0.009), Percent(0.629), Percent(0.9999), Percent(1), Percent(2),
	})
	require.Equal(t, []string{"0%", "0.5%", "1%", "100%"}, []string{FinePercent(0), FinePercent(0.005), FinePercent(0.019), FinePercent(1)})
	require.Equal(t, []string{"0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16.0 EiB"}, []string{
		Size(0), Size(1023), Size(1024), Size(3 << 19), Size(math.MaxUint64),
	})
	require.Equal(t, []string{"0", "0", "0.5", "10", "9999", "10.0k", "123k", "1.0M", "2.5M", "3000000P"}, []string{
		Rate(math.NaN()), Rate(-1), Rate(0.5), Rate(9.99), Rate(9999), Rate(9999.5), Rate(123_400), Rate(999_960), Rate(2.5e6), Rate(3e21),
	})
	require.Equal(t, []string{"0.00 ms", "0.61 ms", "12.3 ms", "999 ms", "1.5 s"}, []string{
		Latency(0), Latency(610), Latency(12_300), Latency(999_900), Latency(1_500_000),
	})
	require.Equal(t, "9223372036.9 s", Latency(math.MaxUint64))
	require.Equal(t, []string{"0s", "0s", "59s", "1m00s", "12m03s", "1h02m", "2d03h"}, []string{
		Span(-time.Second), Span(400 * time.Millisecond), Span(59 * time.Second), Span(59600 * time.Millisecond),
		Span(723 * time.Second), Span(3725 * time.Second), Span(51 * time.Hour),
	})
}
