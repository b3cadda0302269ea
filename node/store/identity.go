package store

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/ring"
)

// The identity file is text (text.go). Boot 0 means that the directory was still being made.
const (
	identityFile   = "IDENTITY"
	identityFormat = "kring-store 1"
)

func encodeIdentity(id Identity) []byte {
	return encodeText(identityFormat,
		textField{"cluster", strconv.Quote(id.ClusterID)},
		textField{"node", strconv.Quote(string(id.Node))},
		textField{"store", fmt.Sprintf("%016x", uint64(id.Store))},
		textField{"boot", strconv.FormatUint(id.Boot, 10)})
}

func decodeIdentity(b []byte) (Identity, error) {
	values, err := decodeText(b, identityFormat, "cluster", "node", "store", "boot")
	if err != nil {
		return Identity{}, err
	}
	cluster, err1 := strconv.Unquote(values[0])
	node, err2 := strconv.Unquote(values[1])
	store, err3 := strconv.ParseUint(values[2], 16, 64)
	boot, err4 := strconv.ParseUint(values[3], 10, 64)
	id := Identity{ClusterID: cluster, Node: ring.NodeID(node), Store: ring.StoreID(store), Boot: boot}
	return id, errors.Join(err1, err2, err3, err4)
}

// readIdentity returns the identity kept in dir; found is false if there is none.
func readIdentity(files vfs.FS, dir string) (id Identity, found bool, err error) {
	b, found, err := readText(files, dir, identityFile)
	if err != nil || !found {
		return Identity{}, false, err
	}
	if id, err = decodeIdentity(b); err != nil {
		return Identity{}, false, fmt.Errorf("%w: %s: %w; %s", ErrCorrupt, files.PathJoin(dir, identityFile), err, corruptAdvice)
	}
	return id, true, nil
}

// writeIdentity replaces the identity kept in dir; durable on return.
func writeIdentity(files vfs.FS, dir string, id Identity) error {
	return writeText(files, dir, identityFile, encodeIdentity(id))
}
