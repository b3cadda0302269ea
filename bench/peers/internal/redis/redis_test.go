package redis

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFields(t *testing.T) {
	for _, begin := range []string{"", "txt:"} {
		got := fields(begin + "cluster_state:ok\r\n# Replication\r\nmaster_link_status:up\r\n")
		require.Equal(t, map[string]string{"cluster_state": "ok", "master_link_status": "up"}, got)
	}
}
