package coordinator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// A backup is a file: the magic line; the length of the header, 4 bytes, little endian; the header, a BackupHeader; the state, a
// CoordinatorSnapshot of as many bytes as the header says; and the SHA-256 of everything before it.
const (
	backupMagic     = "kring-coordinators-backup 1\n"
	maxBackupHeader = 64 << 10
	backupChunk     = 256 << 10
	maxBackupBytes  = len(backupMagic) + 4 + maxBackupHeader + maxSnapshotBytes + sha256.Size
)

// encodeBackup fills in the header what follows from the state.
func encodeBackup(header *kringv1.BackupHeader, s *state) ([]byte, error) {
	encoded, err := encodeState(s)
	if err != nil {
		return nil, err
	}
	header.ClusterId, header.TableVersion = s.table.Settings.ClusterID, s.table.Version
	header.Partitions, header.Nodes, header.StateBytes = uint32(len(s.table.Partitions)), uint32(len(s.table.Members)), uint64(len(encoded))
	head, err := proto.Marshal(header)
	if err != nil {
		return nil, err
	}
	if len(head) > maxBackupHeader || len(encoded) > maxSnapshotBytes {
		return nil, fmt.Errorf("coordinator: backup of %d and %d bytes: too much", len(head), len(encoded))
	}
	b := binary.LittleEndian.AppendUint32([]byte(backupMagic), uint32(len(head)))
	b = append(append(b, head...), encoded...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// decodeBackup refuses what is not whole.
func decodeBackup(b []byte) (*kringv1.BackupHeader, *state, error) {
	rest, ok := bytes.CutPrefix(b, []byte(backupMagic))
	if !ok {
		return nil, nil, errors.New("coordinator: this is no backup of coordinators, or one of another release")
	}
	if len(rest) < 4+sha256.Size {
		return nil, nil, errors.New("coordinator: the backup is cut short")
	}
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	if !bytes.Equal(sum[:], b[len(b)-sha256.Size:]) {
		return nil, nil, errors.New("coordinator: the backup is damaged or cut short: its checksum does not match")
	}
	size := uint64(binary.LittleEndian.Uint32(rest))
	body := rest[4 : len(rest)-sha256.Size]
	var header kringv1.BackupHeader
	if size > uint64(len(body)) {
		return nil, nil, errors.New("coordinator: the backup is malformed: its header is longer than all of it")
	}
	if err := proto.Unmarshal(body[:size], &header); err != nil {
		return nil, nil, fmt.Errorf("coordinator: header of the backup: %w", err)
	}
	if header.GetStateBytes() != uint64(len(body))-size {
		return nil, nil, fmt.Errorf("coordinator: the backup is malformed: %d bytes of state, its header says %d", uint64(len(body))-size,
			header.GetStateBytes())
	}
	s, err := decodeState(body[size:])
	return &header, s, err
}

// ReadBackup reads a backup whole, and checks it. The header says what it is of.
func ReadBackup(r io.Reader) (*kringv1.BackupHeader, []byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(maxBackupBytes)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("coordinator: backup: %w", err)
	}
	if len(b) > maxBackupBytes {
		return nil, nil, fmt.Errorf("coordinator: backup of more than %d bytes", maxBackupBytes)
	}
	header, _, err := decodeBackup(b)
	return header, b, err
}

// Backup is served by the leader; another coordinator hands it on.
func (s server) Backup(_ *kringv1.BackupRequest, stream grpc.ServerStreamingServer[kringv1.BackupResponse]) error {
	ctx := stream.Context()
	if !s.consensus.leading() {
		return s.relayBackup(ctx, stream)
	}
	b, err := s.backup()
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n := min(backupChunk, len(b))
		if err := stream.Send(&kringv1.BackupResponse{Data: b[:n]}); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (s server) relayBackup(ctx context.Context, stream grpc.ServerStreamingServer[kringv1.BackupResponse]) error {
	if forwarded(ctx) {
		return kverr.Retry(kverr.NotLeader, retryNoLeader, "this coordinator does not lead any more: ask again")
	}
	client, err := s.leaderClient()
	if err != nil {
		return err
	}
	from, err := client.Backup(metadata.AppendToOutgoingContext(ctx, forwardedKey, s.cfg.ID), &kringv1.BackupRequest{})
	for err == nil {
		var piece *kringv1.BackupResponse
		if piece, err = from.Recv(); err == nil {
			err = stream.Send(piece)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return kverr.FromGRPC(err)
}

// backup holds everything that was decided before the call.
func (c *Coordinator) backup() ([]byte, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	if err := c.consensus.raft.Barrier(barrierTimeout).Error(); err != nil {
		return nil, kverr.Retry(kverr.NotLeader, retryNoLeader, "this coordinator lost the lead: ask again")
	}
	header := &kringv1.BackupHeader{
		CoordinatorId: c.cfg.ID, Release: c.cfg.Release, UnixMillis: time.Now().UnixMilli(), AppliedIndex: c.consensus.raft.AppliedIndex(),
	}
	var err error
	if header.Term, err = strconv.ParseUint(c.consensus.raft.Stats()["term"], 10, 64); err != nil {
		return nil, kverr.Newf(kverr.Internal, "raft's term: %v", err)
	}
	s := c.machine.times()
	if !s.table.Formed() {
		return nil, kverr.New(kverr.Conflict, "the cluster has not formed yet: there is nothing to back up")
	}
	b, err := encodeBackup(header, s)
	if err != nil {
		return nil, kverr.New(kverr.Internal, err.Error())
	}
	return b, nil
}
