package node

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const maxTransfersTold = 256 // in one heartbeat; those that move first

// arrivals is how far the copies are that this node is to have, for heartbeats: one a partition that it joins.
type arrivals struct {
	joins atomic.Int64 // len(of), to be read without the lock

	mu sync.Mutex
	of map[ring.PartitionID]*arrival
}

// arrival is one copy on its way here.
type arrival struct {
	from     ring.Replica
	started  time.Time
	phase    kringv1.TransferProgress_Phase
	snapshot uint64 // bytes taken in
	log      uint64
	total    uint64 // of the snapshot, estimated; 0: not known
}

// moved follows decided configurations.
func (a *arrivals) moved(self ring.Replica, partitions []ring.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range partitions {
		p := &partitions[i]
		known := a.of[p.ID]
		switch {
		case !p.IsJoining(self):
			delete(a.of, p.ID)
		case known != nil:
			known.from = p.Primary
		default:
			if a.of == nil {
				a.of = make(map[ring.PartitionID]*arrival)
			}
			a.of[p.ID] = &arrival{from: p.Primary, started: time.Now(), phase: kringv1.TransferProgress_PHASE_WAITING}
		}
	}
	a.joins.Store(int64(len(a.of)))
}

// note changes what is known of a partition that this node joins.
func (a *arrivals) note(id ring.PartitionID, change func(*arrival)) {
	if a.joins.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.of[id]; known != nil {
		change(known)
	}
}

// begins notes that a snapshot has begun, of about so many bytes.
func (a *arrivals) begins(id ring.PartitionID, bytes uint64) {
	a.note(id, func(x *arrival) {
		x.phase, x.snapshot, x.total = kringv1.TransferProgress_PHASE_SNAPSHOT, 0, bytes
	})
}

// takes notes a part of a snapshot.
func (a *arrivals) takes(id ring.PartitionID, bytes int) {
	a.note(id, func(x *arrival) { x.snapshot += uint64(bytes) })
}

// ends notes that a snapshot is here, or will not be: then it is waited for again.
func (a *arrivals) ends(id ring.PartitionID, whole bool) {
	a.note(id, func(x *arrival) {
		x.phase = kringv1.TransferProgress_PHASE_WAITING
		if whole {
			x.phase, x.total = kringv1.TransferProgress_PHASE_LOG, x.snapshot
		}
	})
}

// logged notes entries from primaries, and tells of those for partitions that this node joins.
func (a *arrivals) logged(f *replica.Frame, each func(id ring.PartitionID, bytes int)) {
	if a.joins.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range f.Appends {
		x := a.of[f.Appends[i].Partition]
		if x == nil || len(f.Appends[i].Entries) == 0 {
			continue
		}
		bytes := 0
		for _, e := range f.Appends[i].Entries {
			bytes += len(e.Bytes)
		}
		x.log += uint64(bytes)
		if x.phase == kringv1.TransferProgress_PHASE_WAITING {
			x.phase = kringv1.TransferProgress_PHASE_LOG
		}
		each(f.Appends[i].Partition, bytes)
	}
}

// tell lists what is on its way: at most maxTransfersTold, snapshots first and what waits last, then by partition.
func (a *arrivals) tell() []*kringv1.TransferProgress {
	if a.joins.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*kringv1.TransferProgress, 0, len(a.of))
	for id, x := range a.of {
		t := &kringv1.TransferProgress{
			Partition: uint32(id), From: ringpb.FromReplica(x.from), StartedUnixMillis: x.started.UnixMilli(), Phase: x.phase,
			BytesDone: x.snapshot + x.log,
		}
		if x.total > 0 { // an estimate, which may turn out too low
			t.BytesTotal = max(x.total, x.snapshot) + x.log
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y *kringv1.TransferProgress) int {
		return cmp.Or(cmp.Compare(phaseRank(x.Phase), phaseRank(y.Phase)), cmp.Compare(x.Partition, y.Partition))
	})
	return all[:min(len(all), maxTransfersTold)]
}

func phaseRank(p kringv1.TransferProgress_Phase) int {
	switch p {
	case kringv1.TransferProgress_PHASE_SNAPSHOT:
		return 0
	case kringv1.TransferProgress_PHASE_LOG:
		return 1
	default:
		return 2
	}
}
