package listen

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for address, test := range map[string]struct {
		insecure bool
		err      error
	}{
		"127.0.0.1:80":   {false, nil},
		"127.9.9.9:80":   {false, nil},
		"[::1]:80":       {false, nil},
		"0.0.0.0:80":     {false, ErrExposed},
		"[::]:80":        {false, ErrExposed},
		"10.1.2.3:80":    {false, ErrExposed},
		"10.1.2.3:81":    {true, nil},
		"localhost:80":   {true, ErrAddress}, // may resolve to anything
		":80":            {true, ErrAddress},
		"127.0.0.1":      {false, ErrAddress},
		"example.org:80": {true, ErrAddress},
	} {
		t.Run(address, func(t *testing.T) {
			err := Check(address, test.insecure)
			if test.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, test.err)
		})
	}
}

func TestAdvertised(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7}
	everywhere := &net.TCPAddr{IP: net.IPv4zero, Port: 7}
	got, err := Advertised("", bound)
	require.NoError(t, err)
	require.Equal(t, "10.0.0.1:7", got)
	got, err = Advertised("192.0.2.1:9", everywhere)
	require.NoError(t, err)
	require.Equal(t, "192.0.2.1:9", got)
	for _, given := range []string{"", "host:1", "192.0.2.1:0", "0.0.0.0:9"} {
		_, err = Advertised(given, everywhere)
		require.Error(t, err, given)
	}
}
