package store

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/ring"
)

const (
	// tableBytes is where one table ends and the next begins.
	tableBytes = 32 << 20
	// tableSyncBytes is how much of a table is written before the disk is asked to take it: were all of it left to the end, the log's
	// syncs would wait for it.
	tableSyncBytes = 512 << 10
	// tablePrefix begins the names of tables that are not Pebble's yet. Pebble takes no notice of them; Open deletes what it finds.
	tablePrefix = "incoming-"
	lowestLevel = 6
)

// tableWriter writes records, which come in order, into tables that Pebble then takes over as they are. Nothing of them is in Pebble
// before ingest, and everything after it.
type tableWriter struct {
	disk       *disk
	partition  ring.PartitionID
	generation uint32

	paths  []string        // of tables begun and not handed over; the last is open if writer is
	writer *sstable.Writer // nil: none is open
	space  byte            // of the records in the table that is open
	value  []byte
}

func newTableWriter(d *disk, id ring.PartitionID, generation uint32) *tableWriter {
	return &tableWriter{disk: d, partition: id, generation: generation}
}

// add adds a record, under whose key its checksum is made anew. A table holds records of one space: between two of them lie those of
// all other partitions, and Pebble would have to wait for what it has of them in memory to be flushed, on a broken disk for ever.
func (w *tableWriter) add(key, value []byte) error {
	if w.space != key[0] {
		if err := w.end(); err != nil {
			return err
		}
	}
	if w.writer == nil {
		if err := w.open(); err != nil {
			return err
		}
		w.space = key[0]
	}
	w.value = append(w.value[:0], value...)
	resum(key, w.value)
	if err := w.writer.Set(key, w.value); err != nil {
		return dataError(err)
	}
	if w.writer.Raw().EstimatedSize() < tableBytes {
		return nil
	}
	return w.end()
}

func (w *tableWriter) open() error {
	d := w.disk
	fs := d.options.FS
	path := fs.PathJoin(d.dataDir(), fmt.Sprintf("%s%d-%d-%d", tablePrefix, w.partition, w.generation, len(w.paths)))
	file, err := fs.Create(path, categoryData)
	if err != nil {
		return dataError(err)
	}
	d.space.ask()
	w.paths = append(w.paths, path)
	file = vfs.NewSyncingFile(file, vfs.SyncingFileOptions{BytesPerSync: tableSyncBytes, NoSyncOnClose: true})
	w.writer = sstable.NewWriter(objstorageprovider.NewFileWritable(file),
		d.dataOptions.MakeWriterOptions(lowestLevel, d.db.TableFormat()))
	return nil
}

// end completes and syncs the table that is open, if one is.
func (w *tableWriter) end() error {
	if w.writer == nil {
		return nil
	}
	err := w.writer.Close()
	w.writer = nil
	return dataError(err)
}

// ingest hands the tables over; all that was added is durable on return. It is not called off once begun, by nobody's context: what is
// left is to link the files and note them, and an attempt that ended halfway could not be told from a disk that fails.
func (w *tableWriter) ingest() error {
	if err := w.end(); err != nil {
		return err
	}
	stats, err := w.disk.db.IngestWithStats(context.Background(), w.paths)
	if err != nil {
		return dataError(err)
	}
	if stats.MemtableOverlappingFiles > 0 {
		w.disk.options.Logger.Error("tables of a snapshot overlap with what is being applied, which they never should",
			"partition", w.partition, "tables", stats.MemtableOverlappingFiles)
	}
	w.paths = nil // Pebble has taken the files
	return nil
}

// remove deletes what was not handed over.
func (w *tableWriter) remove() error {
	err := w.end()
	for _, path := range w.paths {
		if rerr := w.disk.options.FS.Remove(path); rerr != nil && !errors.Is(rerr, iofs.ErrNotExist) {
			err = firstError(err, fmt.Errorf("store: %w", rerr))
		}
	}
	if len(w.paths) > 0 {
		w.disk.space.ask()
	}
	w.paths = nil
	return err
}

// removeTables deletes what an earlier process began.
func (d *disk) removeTables() error {
	fs := d.options.FS
	names, err := fs.List(d.dataDir())
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, tablePrefix) {
			if err := fs.Remove(fs.PathJoin(d.dataDir(), name)); err != nil {
				return fmt.Errorf("store: %w", err)
			}
		}
	}
	return nil
}
