package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// onDisk refuses directories in memory: a sync costs nothing there.
func onDisk(dir string) error {
	var info unix.Statfs_t
	if err := unix.Statfs(dir, &info); err != nil {
		return fmt.Errorf("file system of %s: %w", dir, err)
	}
	if info.Type == unix.TMPFS_MAGIC || info.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is in memory, where a sync costs nothing: give a directory on a disk with --dir", dir)
	}
	return nil
}
