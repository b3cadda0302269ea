//go:build !linux

package chaos

import (
	"errors"
	"os"
)

var errNotHere = errors.New("small disks need Linux")

func takeAll(*os.File) error { return errNotHere }

func spaceLeft(string) (uint64, error) { return 0, errNotHere }

// MountSmall fails.
func MountSmall(int64) (string, func() error, error) { return "", nil, errNotHere }
