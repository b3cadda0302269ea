package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// takeAll makes f as long as the disk has room.
func takeAll(f *os.File) error {
	const step, least = 1 << 20, 4 << 10
	for size := int64(step); size >= least; {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, info.Size(), size); {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			return fmt.Errorf("take space: %w", err)
		}
	}
	return nil
}

// spaceLeft is how many bytes may still be written below dir.
func spaceLeft(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// MountSmall makes dir a disk of its own of so many bytes, in memory; unmount gives it back. It needs root.
func MountSmall(dir string, bytes int64) (unmount func() error, err error) {
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.FormatInt(bytes, 10)); err != nil {
		return nil, fmt.Errorf("mount a small disk at %s: %w", dir, err)
	}
	return func() error {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		return nil
	}, nil
}
