//go:build faults

package store

import (
	"os"

	"github.com/kringdb/kring/node/store/internal/faultfs"
)

// With the tag, the default file system can be broken from outside: see package faultfs.
func init() {
	if dir := os.Getenv("KRING_FAULTS"); dir != "" {
		defaultFS = faultfs.Wrap(defaultFS, dir)
	}
}
