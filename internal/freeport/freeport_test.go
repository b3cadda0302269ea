package freeport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPortsAreDifferentAndFree(t *testing.T) {
	seen := make(map[int]bool)
	for range 3 {
		ports, err := Find(10)
		require.NoError(t, err)
		for _, p := range ports {
			require.False(t, seen[p], "%d was given out twice", p)
			seen[p] = true
		}
	}
}
