package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Acks is the memory of an audit: which keys were acknowledged, at which version, and which may have been written.
// Without a file it is kept in memory alone.
type Acks struct {
	Settings AuditSettings

	mu     sync.Mutex
	acked  map[uint64]uint64 // index → version
	maybe  map[uint64]bool   // outcome unknown
	file   *os.File
	writer *bufio.Writer
	err    error // the first of writing; every later call fails with it
}

// AuditSettings are what the keys and values of an audit are made from; they head the file of acknowledgements.
type AuditSettings struct {
	Format    int    `json:"format"`
	Prefix    string `json:"prefix"`
	Count     uint64 `json:"count"`
	ValueSize int    `json:"value_size_bytes"`
	Seed      uint64 `json:"seed"`
}

const acksFormat = 1

// NewAcks keeps acknowledgements in memory.
func NewAcks(s AuditSettings) *Acks {
	s.Format = acksFormat
	return &Acks{Settings: s, acked: make(map[uint64]uint64), maybe: make(map[uint64]bool)}
}

// CreateAcks keeps them in a new file too, one line each: a first line of settings in JSON, then "a INDEX VERSION" or
// "u INDEX" for one whose outcome is unknown. An existing file is not overwritten.
func CreateAcks(path string, s AuditSettings) (*Acks, error) {
	a := NewAcks(s)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create the file of acknowledgements: %w", err)
	}
	a.file, a.writer = f, bufio.NewWriter(f)
	header, err := json.Marshal(a.Settings)
	if err == nil {
		_, err = a.writer.Write(append(header, '\n'))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write acknowledgements: %w", err), f.Close())
	}
	return a, nil
}

// ReadAcks reads what CreateAcks wrote. A last line cut short, by a kill of the auditor, is left out: its write is
// not known to be acknowledged.
func ReadAcks(path string) (*Acks, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read acknowledgements: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	r := bufio.NewReader(f)
	header, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read acknowledgements of %s: no settings: %w", path, err)
	}
	var s AuditSettings
	if err := json.Unmarshal(header, &s); err != nil {
		return nil, fmt.Errorf("read acknowledgements of %s: settings: %w", path, err)
	}
	if s.Format != acksFormat {
		return nil, fmt.Errorf("read acknowledgements of %s: format %d, this program knows %d", path, s.Format, acksFormat)
	}
	a := NewAcks(s)
	for n := 2; ; n++ {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read acknowledgements of %s: %w", path, err)
		}
		if err := a.parse(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("read acknowledgements of %s, line %d: %w", path, n, err)
		}
	}
}

func (a *Acks) parse(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return fmt.Errorf("%q is no acknowledgement", line)
	}
	index, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || index >= a.Settings.Count {
		return fmt.Errorf("%q names no key of %d", line, a.Settings.Count)
	}
	switch {
	case fields[0] == "a" && len(fields) == 3:
		version, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("%q: version: %w", line, err)
		}
		a.acked[index] = version
	case fields[0] == "u" && len(fields) == 2:
		a.maybe[index] = true
	default:
		return fmt.Errorf("%q is no acknowledgement", line)
	}
	return nil
}

// Acknowledge notes that key i is written for good.
func (a *Acks) Acknowledge(i, version uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked[i] = version
	delete(a.maybe, i)
	return a.line("a %d %d\n", i, version)
}

// Suspect notes that key i may have been written.
func (a *Acks) Suspect(i uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, acked := a.acked[i]; acked {
		return nil
	}
	a.maybe[i] = true
	return a.line("u %d\n", i)
}

// line needs mu.
func (a *Acks) line(format string, args ...any) error {
	if a.writer == nil {
		return nil
	}
	if a.err == nil {
		if _, err := fmt.Fprintf(a.writer, format, args...); err != nil {
			a.err = fmt.Errorf("write acknowledgements: %w", err)
		}
	}
	return a.err
}

// Acknowledged gives the version of key i, if it was acknowledged.
func (a *Acks) Acknowledged(i uint64) (version uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	version, ok = a.acked[i]
	return version, ok
}

// Len is the number of keys acknowledged, and of those that may have been written.
func (a *Acks) Len() (acknowledged, suspected int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.acked), len(a.maybe)
}

// Close writes out and closes the file; the acknowledgements stay readable in memory.
func (a *Acks) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := errors.Join(a.err, a.writer.Flush(), a.file.Sync(), a.file.Close())
	a.file, a.writer = nil, nil
	if err != nil {
		return fmt.Errorf("close the file of acknowledgements: %w", err)
	}
	return nil
}
