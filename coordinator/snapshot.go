package coordinator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const (
	snapshotFormat   = 1
	maxSnapshotBytes = 256 << 20 // a full table of 16,384 partitions takes about 4 MiB
)

// encodeState is the state as it is kept on disk and sent to coordinators that fell behind.
func encodeState(s *state) ([]byte, error) {
	out := &kringv1.CoordinatorSnapshot{
		Format: snapshotFormat, Table: ringpb.FromTable(s.table), PartitionChangedUnixMillis: s.partitionChanged,
		PartitionShortUnixMillis: s.partitionShort,
		Operations:               s.operations.list, Rebalance: s.rebalance, MemberOverrides: encodeOverrides(s.overrides), Events: s.events,
		OperationsVersion: s.operations.version, LeavingCoordinators: encodeLeaving(s.leaving), Restored: s.restored,
	}
	for i := range s.table.Members {
		id := s.table.Members[i].Node
		out.MemberSince = append(out.MemberSince, &kringv1.CoordinatorSnapshot_MemberSince{
			NodeId: string(id), StateUnixMillis: s.memberSince[id],
		})
	}
	for _, id := range slices.Sorted(maps.Keys(s.retired)) {
		out.RetiredStores = append(out.RetiredStores, &kringv1.CoordinatorSnapshot_RetiredStore{
			NodeId: string(s.retired[id].node), StoreId: uint64(id), Removed: s.retired[id].removed,
		})
	}
	for token, id := range s.operations.tokens {
		out.OperationTokens = append(out.OperationTokens, &kringv1.CoordinatorSnapshot_OperationToken{OperationId: id, Token: token})
	}
	slices.SortFunc(out.OperationTokens, func(a, b *kringv1.CoordinatorSnapshot_OperationToken) int {
		return cmp.Compare(a.GetOperationId(), b.GetOperationId()) // one token each
	})
	return proto.MarshalOptions{Deterministic: true}.Marshal(out)
}

func decodeState(b []byte) (*state, error) {
	var in kringv1.CoordinatorSnapshot
	if err := proto.Unmarshal(b, &in); err != nil {
		return nil, fmt.Errorf("coordinator: snapshot: %w", err)
	}
	if in.GetFormat() != snapshotFormat {
		return nil, fmt.Errorf("coordinator: snapshot of format %d, this release knows %d: start the release that wrote it, or a "+
			"newer one", in.GetFormat(), snapshotFormat)
	}
	table, err := ringpb.ToTable(in.GetTable())
	if err != nil {
		return nil, fmt.Errorf("coordinator: snapshot: %w", err)
	}
	if len(in.GetPartitionChangedUnixMillis()) != len(table.Partitions) || len(in.GetMemberSince()) != len(table.Members) {
		return nil, fmt.Errorf("coordinator: snapshot: times for %d of %d partitions, %d of %d members",
			len(in.GetPartitionChangedUnixMillis()), len(table.Partitions), len(in.GetMemberSince()), len(table.Members))
	}
	s := &state{
		table: table, memberSince: make(map[ring.NodeID]int64, len(table.Members)), retired: map[ring.StoreID]retiredStore{},
		partitionChanged: in.GetPartitionChangedUnixMillis(), partitionShort: in.GetPartitionShortUnixMillis(),
	}
	if err := s.completeShort(); err != nil {
		return nil, err
	}
	for _, m := range in.GetMemberSince() {
		s.memberSince[ring.NodeID(m.GetNodeId())] = m.GetStateUnixMillis()
	}
	for _, r := range in.GetRetiredStores() {
		s.retired[ring.StoreID(r.GetStoreId())] = retiredStore{ring.NodeID(r.GetNodeId()), r.GetRemoved()}
	}
	return s, s.decodeControl(&in)
}

// decodeControl takes what releases before operations left out: then there are none, and nothing is set.
func (s *state) decodeControl(in *kringv1.CoordinatorSnapshot) error {
	s.operations = operations{list: in.GetOperations(), tokens: map[string]uint64{}, version: in.GetOperationsVersion()}
	for _, t := range in.GetOperationTokens() {
		s.operations.tokens[t.GetToken()] = t.GetOperationId()
	}
	s.rebalance, s.overrides, s.events = in.GetRebalance(), decodeOverrides(in.GetMemberOverrides()), in.GetEvents()
	s.leaving, s.restored = decodeLeaving(in.GetLeavingCoordinators()), in.GetRestored()
	if s.rebalance == nil {
		s.rebalance = &kringv1.Rebalance{}
	}
	if !slices.IsSortedFunc(s.operations.list, func(a, b *kringv1.Operation) int { return cmp.Compare(a.GetId(), b.GetId()) }) ||
		!slices.IsSortedFunc(s.events, func(a, b *kringv1.Event) int { return cmp.Compare(a.GetId(), b.GetId()) }) {
		return errors.New("coordinator: snapshot: operations or events are not in order")
	}
	return nil
}

// completeShort fills in what releases that did not keep it left out: a partition that lacks copies has done so since its
// last change at the latest, and every coordinator that reads such a snapshot comes to the same.
func (s *state) completeShort() error {
	switch len(s.partitionShort) {
	case len(s.table.Partitions):
		return nil
	case 0:
	default:
		return fmt.Errorf("coordinator: snapshot: times of %d of %d partitions", len(s.partitionShort), len(s.table.Partitions))
	}
	s.partitionShort = make([]int64, len(s.table.Partitions))
	for i := range s.table.Partitions {
		if len(s.table.Partitions[i].InSync) < int(s.table.Settings.Replicas) {
			s.partitionShort[i] = max(s.partitionChanged[i], 1)
		}
	}
	return nil
}

// snapshot writes a state that nobody modifies any more.
type snapshot struct{ state *state }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	b, err := encodeState(s.state)
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		if cerr := sink.Cancel(); cerr != nil {
			return fmt.Errorf("coordinator: snapshot: %w (and to cancel it: %w)", err, cerr)
		}
		return fmt.Errorf("coordinator: snapshot: %w", err)
	}
	return sink.Close()
}

func (snapshot) Release() {}

func readState(r io.Reader) (*state, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshotBytes+1))
	if err != nil {
		return nil, fmt.Errorf("coordinator: snapshot: %w", err)
	}
	if len(b) > maxSnapshotBytes {
		return nil, fmt.Errorf("coordinator: snapshot of more than %d bytes", maxSnapshotBytes)
	}
	return decodeState(b)
}
