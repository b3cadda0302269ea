package store

import (
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The restored file is text (text.go). It is there once restored coordinators have been told what this node knows, and says up to which
// version tables count for nothing here any more: others may still decide such. A person for whom the restore was a mistake deletes
// it while the node is stopped.
const (
	restoredFile   = "RESTORED"
	restoredFormat = "kring-restored 1"
)

func encodeRestored(tablesAbove uint64) []byte {
	return encodeText(restoredFormat, textField{"tables_above", strconv.FormatUint(tablesAbove, 10)})
}

func decodeRestored(b []byte) (uint64, error) {
	values, err := decodeText(b, restoredFormat, "tables_above")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(values[0], 10, 64)
}

// readRestored finds none where nobody who was restored has asked.
func readRestored(fs vfs.FS, dir string) (uint64, error) {
	b, found, err := readText(fs, dir, restoredFile)
	if err != nil || !found {
		return 0, err
	}
	above, err := decodeRestored(b)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w; %s", ErrCorrupt, fs.PathJoin(dir, restoredFile), err, corruptAdvice)
	}
	return above, nil
}

func (d *disk) TablesAbove() uint64 {
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	return d.above
}

func (d *disk) RaiseTablesAbove(version uint64) error {
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	if version <= d.above {
		return nil
	}
	if err := writeText(d.options.FS, d.dir, restoredFile, encodeRestored(version)); err != nil {
		return err
	}
	d.above = version
	return nil
}

func (m *memory) TablesAbove() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.above
}

func (m *memory) RaiseTablesAbove(version uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.above = max(m.above, version)
	return nil
}
