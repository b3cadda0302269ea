package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

// smallPrefix begins the names of small disks in the directory for temporary files; the pid of their maker follows.
const smallPrefix = "kring-small-"

// MountSmall makes a disk of so many bytes, in memory, and says where it is; unmount gives it back. It needs root. What a process
// left behind that was killed is removed by the next call.
func MountSmall(bytes int64) (dir string, unmount func() error, err error) {
	if err := removeLeftovers(); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp("", smallPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", nil, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.FormatInt(bytes, 10)); err != nil {
		return "", nil, errors.Join(fmt.Errorf("mount a small disk at %s: %w", dir, err), os.Remove(dir))
	}
	return dir, func() error { return removeSmall(dir) }, nil
}

func removeSmall(dir string) error {
	// EINVAL: it was made, but nothing was mounted there.
	if err := unix.Unmount(dir, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return os.Remove(dir)
}

func removeLeftovers() error {
	all, err := filepath.Glob(filepath.Join(os.TempDir(), smallPrefix+"*"))
	if err != nil {
		return err
	}
	var failures []error
	for _, dir := range all {
		maker, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), smallPrefix), "-")
		if pid, err := strconv.Atoi(maker); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			failures = append(failures, removeSmall(dir))
		}
	}
	return errors.Join(failures...)
}
