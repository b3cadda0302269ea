package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMemoryIsNoDisk(t *testing.T) {
	var info unix.Statfs_t
	const shared = "/dev/shm"
	if err := unix.Statfs(shared, &info); err != nil || info.Type != unix.TMPFS_MAGIC {
		t.Skip("this machine has no file system in memory at " + shared)
	}
	dir, err := os.MkdirTemp(shared, "kring")
	require.NoError(t, err)
	defer func() { require.NoError(t, os.Remove(dir)) }()
	require.ErrorContains(t, onDisk(dir), "--dir")
}
