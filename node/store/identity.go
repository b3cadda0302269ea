package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/ring"
)

// The identity file is text, so that a person can tell directories apart: one "name value" a line, strings quoted, and
// a last line with the CRC-32C of everything before it. Boot 0 means that the directory was still being made.
const (
	identityFile   = "IDENTITY"
	identityFormat = "kring-store 1"
)

func encodeIdentity(id Identity) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, identityFormat)
	fmt.Fprintf(&b, "cluster %q\n", id.ClusterID)
	fmt.Fprintf(&b, "node %q\n", string(id.Node))
	fmt.Fprintf(&b, "store %016x\n", uint64(id.Store))
	fmt.Fprintf(&b, "boot %d\n", id.Boot)
	fmt.Fprintf(&b, "crc32c %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

func decodeIdentity(b []byte) (Identity, error) {
	const crcLineBytes = len("crc32c 01234567\n")
	if len(b) < crcLineBytes {
		return Identity{}, errors.New("too short")
	}
	body := b[:len(b)-crcLineBytes]
	if want := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(body, castagnoli)); string(b[len(body):]) != want {
		return Identity{}, fmt.Errorf("its last line should be %q", want)
	}
	lines := strings.Split(string(body), "\n")
	if len(lines) != 6 || lines[0] != identityFormat {
		return Identity{}, fmt.Errorf("it is not of format %q", identityFormat)
	}
	var values [4]string
	for i, name := range []string{"cluster ", "node ", "store ", "boot "} {
		value, ok := strings.CutPrefix(lines[i+1], name)
		if !ok {
			return Identity{}, fmt.Errorf("line %d should begin with %q", i+2, name)
		}
		values[i] = value
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
	name := files.PathJoin(dir, identityFile)
	f, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("store: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err = errors.Join(err, f.Close()); err != nil {
		return Identity{}, false, fmt.Errorf("store: read %s: %w", name, err)
	}
	if id, err = decodeIdentity(b); err != nil {
		return Identity{}, false, fmt.Errorf("%w: %s: %w; %s", ErrCorrupt, name, err, corruptAdvice)
	}
	return id, true, nil
}

// writeIdentity replaces the identity kept in dir; durable on return.
func writeIdentity(files vfs.FS, dir string, id Identity) error {
	name := files.PathJoin(dir, identityFile)
	temporary := name + ".new"
	f, err := files.Create(temporary, categoryLog)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = f.Write(encodeIdentity(id))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = files.Rename(temporary, name)
	}
	if err == nil {
		err = syncDir(files, dir)
	}
	if err != nil {
		return fmt.Errorf("store: write %s: %w", name, err)
	}
	return nil
}
