package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/ring"
)

// installing is a snapshot on its way into a store that TestCrash cuts the power of.
type installing struct {
	install  store.Install
	items    []store.Item // not yet added
	to       *modelSnapshot
	opened   bool
	finished bool
}

// install takes one step with the snapshot that partition id takes in, or begins one.
func (w *workload) install(t *testing.T, s store.Store, id ring.PartitionID) {
	in := w.installs[id]
	switch n := w.rng.IntN(10); {
	case in == nil:
		w.installs[id] = w.beginInstall(t, s, id)
	case n == 0 && w.rng.IntN(2) == 0:
		w.giveUp(t, s, id, in)
	case !in.opened && n < 4:
		w.append(s, entry.Record{Kind: entry.RecordOpen, Partition: id, Generation: in.install.Generation()})
		in.opened = true
	case len(in.items) > 0:
		some := min(len(in.items), 1+w.rng.IntN(10))
		require.NoError(t, in.install.Add(in.items[:some]))
		in.items = in.items[some:]
	case !in.finished:
		require.NoError(t, in.install.Finish())
		in.finished = true
	case in.opened && in.to.seq < w.model.partition(id).applied && in.to.seq > 0:
		w.giveUp(t, s, id, in) // the partition has gone on
	case in.opened && w.model.partition(id).endsLike(in.to):
		w.giveUp(t, s, id, in) // whether it was turned to could not be told from the log's outline
	case in.opened:
		delete(w.installs, id)
		r := entry.Record{
			Kind: entry.RecordFlip, Partition: id, Generation: in.install.Generation(), Seq: in.to.seq, Epoch: in.to.epoch,
			Payload: entry.EncodeFlip(in.to.seq),
		}
		w.mu.Lock()
		w.note(modelRecord{Record: r, to: in.to})
		if in.to.seq == 0 {
			w.model.partition(id).applied = 0
		}
		w.mu.Unlock()
		s.Append([]entry.Record{r})
	}
}

func (w *workload) giveUp(t *testing.T, s store.Store, id ring.PartitionID, in *installing) {
	delete(w.installs, id)
	require.NoError(t, in.install.Abort())
	if in.opened {
		w.append(s, entry.Record{Kind: entry.RecordDrop, Partition: id, Generation: in.install.Generation()})
	}
}

// beginInstall makes what a primary may have: something further on than id is. Or it is nothing, and id is to begin anew.
func (w *workload) beginInstall(t *testing.T, s store.Store, id ring.PartitionID) *installing {
	p := w.model.partition(id)
	if w.rng.IntN(5) == 0 {
		install, err := s.Install(id)
		require.NoError(t, err)
		return &installing{install: install, to: &modelSnapshot{}}
	}
	in := &installing{to: &modelSnapshot{
		seq: p.applied + uint64(1+w.rng.IntN(12)), epoch: p.promised, keys: make(map[string]*entry.Entry),
	}}
	primary := storetest.NewHandle(t, store.NewMemory(store.Options{Node: "primary"}))
	for seq := uint64(1); seq <= in.to.seq; seq++ {
		r := w.entry(id, seq, w.rng.IntN(500))
		r.Partition = 0
		e := new(entry.Entry)
		require.NoError(t, entry.Decode(r.Payload, e))
		primary.Append([]entry.Record{r})
		primary.Commit(0, e)
		if in.to.keys[string(e.Key)] = e; e.Op != entry.OpPut {
			delete(in.to.keys, string(e.Key))
		}
	}
	snapshot, err := primary.Snapshot(0)
	require.NoError(t, err)
	require.Equal(t, in.to.seq, snapshot.Seq())
	require.Equal(t, in.to.epoch, snapshot.SeqEpoch())
	in.items = storetest.Items(t, snapshot, 1<<20)
	require.NoError(t, errors.Join(snapshot.Close(), primary.Close()))
	in.install, err = s.Install(id)
	require.NoError(t, err)
	return in
}

// silent is a logger for Pebble.
type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }

// checkGenerations looks below a closed store: there is nothing of any generation but the current ones.
func checkGenerations(fs vfs.FS, m model) (err error) {
	db, err := pebble.Open("node/data", &pebble.Options{
		FS: fs, DisableWAL: true, FormatMajorVersion: pebble.FormatNewest, Logger: silent{},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, space := range []byte{'D', 'X', 'R', 'T'} {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
		if err != nil {
			return err
		}
		for valid := iter.First(); valid; valid = iter.Next() {
			id := ring.PartitionID(binary.BigEndian.Uint32(iter.Key()[1:]))
			generation := binary.BigEndian.Uint32(iter.Key()[5:])
			if m[id] == nil || m[id].generation != generation {
				return errors.Join(fmt.Errorf("key %x is left over", iter.Key()), iter.Close())
			}
		}
		if err := errors.Join(iter.Error(), iter.Close()); err != nil {
			return err
		}
	}
	return nil
}

// TestLeftGenerationsAreDeleted looks below a store that was closed and not opened again: what flips, drops and aborted
// installs leave is deleted while it runs.
func TestLeftGenerationsAreDeleted(t *testing.T) {
	fs := vfs.NewMem()
	options := storetest.Small()
	options.FS = fs
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	want := model{}
	for id := ring.PartitionID(1); id < 6; id++ {
		h.Write(id, storetest.Puts(1, 5, 1)...)
		want.partition(id)
	}
	for id := ring.PartitionID(2); id < 5; id++ {
		from, err := h.Snapshot(1)
		require.NoError(t, err)
		install := storetest.Copy(t, h, id, from)
		switch id {
		case 2:
			h.Append([]entry.Record{storetest.Flip(id, install, from)})
			want[2].generation = install.Generation()
		case 3:
			h.Append([]entry.Record{{Kind: entry.RecordDrop, Partition: id, Generation: install.Generation()}})
		case 4:
			require.NoError(t, install.Abort())
		}
		require.NoError(t, from.Close())
	}
	require.NoError(t, h.Close())
	require.NoError(t, checkGenerations(fs, want))
}
