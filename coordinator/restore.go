package coordinator

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/hashicorp/raft"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const (
	// restoredIndexShift: restored coordinators go on at the log index of the present second times 4096, if that is above where the
	// backup was. Table versions, and the ids of events and operations, follow from the index, and so rise over a restore, and over
	// a second one from the same backup, unless more than 4096 entries a second were decided ever since the first.
	restoredIndexShift = 12
	restoredIndexLeast = 1 << 20 // above the backup's, whatever the clock says
)

// RestoreConfig says where a coordinator is made from a backup, or from what nodes know.
type RestoreConfig struct {
	ID            string // of the coordinator
	DataDir       string // empty, or not there
	RaftAdvertise string // "IP:PORT" at which others will reach its raft
	Logger        *slog.Logger
}

// Restore makes the data directory of a first coordinator from a backup, without a running process. It leads alone until others are
// added. Before it decides anything it hears from the nodes what they follow, and gives every partition an epoch with a restore
// count that was never used.
func Restore(cfg RestoreConfig, backup io.Reader) (*kringv1.BackupHeader, error) {
	header, b, err := ReadBackup(backup)
	if err != nil {
		return nil, err
	}
	_, s, err := decodeBackup(b)
	if err != nil {
		return nil, err
	}
	if !s.table.Formed() {
		return nil, errors.New("coordinator: the cluster had not formed when the backup was taken: there is nothing to restore, begin a new one")
	}
	if err := cfg.checkEmpty(); err != nil {
		return nil, err
	}
	return header, cfg.write(s, header.GetAppliedIndex(), header.GetTerm(), nil)
}

// checkEmpty refuses a directory with anything in it.
func (cfg RestoreConfig) checkEmpty() error {
	entries, err := os.ReadDir(cfg.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // of a file system that is mounted there
			return fmt.Errorf("coordinator: %s is not empty, there is %s in it: give an empty directory, or one that is not there yet", cfg.DataDir,
				e.Name())
		}
	}
	return nil
}

// write makes the directory. without are nodes not to wait for.
func (cfg RestoreConfig) write(s *state, index, term uint64, without []string) (err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if _, leaves := s.leaving[cfg.ID]; leaves {
		return fmt.Errorf("coordinator: %s was removed from these coordinators before: choose another id", cfg.ID)
	}
	restores := highestRestores(s.table)
	if restores == math.MaxUint16 {
		return fmt.Errorf("coordinator: the restore count of epochs is at its end, %d", restores)
	}
	s.restored = &kringv1.CoordinatorSnapshot_Restored{Restores: uint32(restores) + 1, AcceptedMissing: without}
	d, err := openDisk(cfg.DataDir, cfg.ID, cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	index = max(index+restoredIndexLeast, uint64(time.Now().Unix())<<restoredIndexShift)
	if err := writeFirstSnapshot(d, s, index, term+1, raft.Server{
		Suffrage: raft.Voter, ID: raft.ServerID(cfg.ID), Address: raft.ServerAddress(cfg.RaftAdvertise),
	}); err != nil {
		return err
	}
	return d.setNew(false) // it holds all that there is
}

// writeFirstSnapshot is what raft begins from.
func writeFirstSnapshot(d *disk, s *state, index, term uint64, self raft.Server) error {
	if err := d.log.SetUint64([]byte(currentTermEntry), term); err != nil {
		return fmt.Errorf("coordinator: log: %w", err)
	}
	_, transport := raft.NewInmemTransport(self.Address) // only to spell addresses
	sink, err := d.snapshots.Create(raft.SnapshotVersionMax, index, term, raft.Configuration{Servers: []raft.Server{self}}, index, transport)
	if err != nil {
		return errors.Join(fmt.Errorf("coordinator: snapshot: %w", err), transport.Close())
	}
	return errors.Join(snapshot{s}.Persist(sink), transport.Close())
}

func highestRestores(t *ring.Table) uint16 {
	highest := uint16(0)
	for i := range t.Partitions {
		highest = max(highest, t.Partitions[i].Epoch.Restores())
	}
	return highest
}
