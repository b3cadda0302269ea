package store

import (
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/ring"
)

// The settings file is text (text.go): the cluster's settings as this node heard them last. The node itself never reads them; they
// are for coordinators that have lost everything. Keys cannot be found without the number of partitions.
const (
	settingsFile   = "SETTINGS"
	settingsFormat = "kring-settings 1"
)

func encodeSettings(s ring.Settings) []byte {
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	return encodeText(settingsFormat,
		textField{"cluster", strconv.Quote(s.ClusterID)},
		textField{"partitions", number(s.Partitions)},
		textField{"replicas", number(s.Replicas)},
		textField{"min_insync", number(s.MinInSync)})
}

func decodeSettings(b []byte) (s ring.Settings, err error) {
	values, err := decodeText(b, settingsFormat, "cluster", "partitions", "replicas", "min_insync")
	if err != nil {
		return ring.Settings{}, err
	}
	if s.ClusterID, err = strconv.Unquote(values[0]); err != nil {
		return ring.Settings{}, err
	}
	for i, to := range []*uint32{&s.Partitions, &s.Replicas, &s.MinInSync} {
		n, err := strconv.ParseUint(values[i+1], 10, 32)
		if err != nil {
			return ring.Settings{}, err
		}
		*to = uint32(n)
	}
	return s, s.Validate()
}

// readSettings finds none in the directory of a release that did not keep them.
func readSettings(fs vfs.FS, dir string) (ring.Settings, error) {
	b, found, err := readText(fs, dir, settingsFile)
	if err != nil || !found {
		return ring.Settings{}, err
	}
	s, err := decodeSettings(b)
	if err != nil {
		return ring.Settings{}, fmt.Errorf("%w: %s: %w; %s", ErrCorrupt, fs.PathJoin(dir, settingsFile), err, corruptAdvice)
	}
	return s, nil
}

func (d *disk) Settings() ring.Settings {
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	return d.settings
}

func (d *disk) SetSettings(s ring.Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	if s == d.settings {
		return nil
	}
	if err := writeText(d.options.FS, d.dir, settingsFile, encodeSettings(s)); err != nil {
		return err
	}
	d.settings = s
	return nil
}

func (m *memory) Settings() ring.Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settings
}

func (m *memory) SetSettings(s ring.Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = s
	return nil
}
