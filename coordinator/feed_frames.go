package coordinator

import (
	"fmt"

	"google.golang.org/grpc/mem"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring/ringpb"
)

// maxFrames are kept of one version of the table: watchers come from few versions, most from the one before.
const maxFrames = 16

// frame is an answer of WatchRing as it is sent. All watchers that hold the same version get the same bytes: a thousand of them cost
// one encoding, and no more memory than one. It is never modified, and belongs to no pool.
type frame struct {
	encoded mem.BufferSlice
	version uint64 // that it leads to
}

// frameKey is what makes two answers about one version differ.
type frameKey struct {
	from    uint64 // that the watcher holds
	resumed bool   // by it; false: it holds nothing, and from is of no meaning
	leader  string
}

// frame is what leads from what a watcher holds to the newest table: the changes since, or the whole table.
func (f *feed) frame(key frameKey) (frame, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.frames[key]; ok {
		return known, nil
	}
	t := f.current.Load()
	resp := &kringv1.WatchRingResponse{LeaderId: key.leader}
	change, ok := f.sinceLocked(key.from)
	switch {
	case key.resumed && key.from == t.Version: // nothing is new
	case key.resumed && ok:
		resp.Update = &kringv1.WatchRingResponse_Change{Change: ringpb.FromChange(&change)}
	default:
		resp.Update = &kringv1.WatchRingResponse_Table{Table: ringpb.FromTable(t)}
	}
	made, err := encodeFrame(resp)
	made.version = t.Version
	if err == nil && len(f.frames) < maxFrames {
		f.frames[key] = made
	}
	return made, err
}

// encodeFrame does not use gRPC's pool, to which the first who has sent the bytes would return them.
func encodeFrame(resp *kringv1.WatchRingResponse) (frame, error) {
	b := make([]byte, resp.SizeVT())
	if _, err := resp.MarshalToSizedBufferVT(b); err != nil {
		return frame{}, fmt.Errorf("coordinator: encode the table: %w", err)
	}
	return frame{encoded: mem.BufferSlice{mem.SliceBuffer(b)}}, nil
}
