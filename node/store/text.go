package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Small files that a person may want to read are text: a line with the format, one "name value" a line, and a last line
// with the CRC-32C of everything before it.

// maxTextBytes bounds such a file.
const maxTextBytes = 64 << 10

// textField is a line; value must not hold a line's end.
type textField struct{ name, value string }

func encodeText(format string, fields ...textField) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, format)
	for _, f := range fields {
		fmt.Fprintf(&b, "%s %s\n", f.name, f.value)
	}
	fmt.Fprintf(&b, "crc32c %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

// decodeText returns the values of the fields names, which must be all there are, in that order.
func decodeText(b []byte, format string, names ...string) ([]string, error) {
	const crcLineBytes = len("crc32c 01234567\n")
	if len(b) < crcLineBytes {
		return nil, errors.New("too short")
	}
	body := b[:len(b)-crcLineBytes]
	if want := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(body, castagnoli)); string(b[len(body):]) != want {
		return nil, fmt.Errorf("its last line should be %q", want)
	}
	lines := strings.Split(string(body), "\n")
	if len(lines) != len(names)+2 || lines[0] != format {
		return nil, fmt.Errorf("it is not of format %q", format)
	}
	values := make([]string, len(names))
	for i, name := range names {
		value, ok := strings.CutPrefix(lines[i+1], name+" ")
		if !ok {
			return nil, fmt.Errorf("line %d should begin with %q", i+2, name)
		}
		values[i] = value
	}
	return values, nil
}

// readText returns the file name of dir; found is false if there is none.
func readText(files vfs.FS, dir, name string) (b []byte, found bool, err error) {
	name = files.PathJoin(dir, name)
	f, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: %w", err)
	}
	b, err = io.ReadAll(io.LimitReader(f, maxTextBytes))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, false, fmt.Errorf("store: read %s: %w", name, err)
	}
	return b, true, nil
}

// writeText replaces the file name of dir; durable on return.
func writeText(files vfs.FS, dir, name string, b []byte) error {
	return putText(files, dir, name, b, true)
}

func putText(files vfs.FS, dir, name string, b []byte, durable bool) error {
	name = files.PathJoin(dir, name)
	temporary := name + ".new"
	f, err := files.Create(temporary, categoryLog)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = files.Rename(temporary, name)
	}
	if err == nil && durable {
		err = syncDir(files, dir)
	}
	if err != nil {
		return fmt.Errorf("store: write %s: %w", name, err)
	}
	return nil
}
