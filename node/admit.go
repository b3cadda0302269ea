package node

import (
	"sync/atomic"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// admit counts a request as in flight, or says why not. On its stream a refused one counts as well, until it is sent, so
// that a client which does not take its refusals gets no further; on the node only admitted ones count, until they are answered,
// so that no client can use up what is there for all by not taking its answers.
func (s *session) admit(r *request, req *kringv1.Request, partitions uint32) *kverr.Error {
	n := s.node
	r.bytes = len(req.Key) + len(req.Value)
	onStream := s.inFlight.Add(1)
	switch {
	case n.draining.Load():
		return kverr.Retry(kverr.Unavailable, closedRetryAfter, "this node is stopping")
	case onStream > int64(n.cfg.MaxStreamInFlight):
		return kverr.Retry(kverr.Busy, busyRetryAfter, "this stream has too much in flight")
	}
	if err := r.check(req, partitions); err != nil {
		return err
	}
	if isMutation(req.Op) && req.Op != kringv1.Op_OP_DELETE && n.cfg.Store.Full() {
		return kverr.Newf(kverr.DiskFull, "the disk of node %s is nearly full: nothing more is stored until there is space; deleting works",
			n.cfg.ID)
	}
	r.counted = true
	requests, bytes := n.inFlight.Add(1), n.inFlightBytes.Add(int64(r.bytes))
	if requests > int64(n.cfg.MaxInFlight) || bytes > int64(n.cfg.MaxInFlightBytes) && requests > 1 {
		return kverr.Retry(kverr.Busy, busyRetryAfter, "this node has too much in flight")
	}
	return nil
}

// discharge takes a request that is answered out of the node's counts.
func (n *Node) discharge(r *request) {
	if !r.counted {
		return
	}
	r.counted = false
	n.inFlightBytes.Add(int64(-r.bytes))
	n.endOne(&n.inFlight)
}

// endOne counts down something that is to come to 0 before the node ends.
func (n *Node) endOne(count *atomic.Int64) {
	if count.Add(-1) == 0 && n.draining.Load() {
		wake(n.drained)
	}
}

// charge adds what a read has found to the request, or refuses to hold it.
func (n *Node) charge(r *request, bytes int) *kverr.Error {
	r.bytes += bytes
	if n.inFlightBytes.Add(int64(bytes)) > int64(n.cfg.MaxInFlightBytes) && n.inFlight.Load() > 1 {
		return kverr.Retry(kverr.Busy, busyRetryAfter, "this node has too much in flight")
	}
	return nil
}

func fillRefusal(resp *kringv1.Response, err *kverr.Error) {
	resp.Code, resp.Message, resp.RetryAfterMillis = err.Code, err.Message, millis(err.RetryAfter)
}

// frameWork is what a frame, or a part of it, asks of the protocol.
type frameWork struct {
	reads     []replica.Read
	proposals []*replica.Propose
}

// prepare does what a request needs before the protocol is asked: a read reads.
func (n *Node) prepare(b *frameWork, r *request, req *kringv1.Request, at replica.Time) {
	if isMutation(req.Op) {
		b.proposals = append(b.proposals, r.proposal(req, at))
		return
	}
	n.read(r, req)
	read := replica.Read{
		Token: r, Partition: ring.PartitionID(req.Partition), Epoch: ring.Epoch(req.Epoch), Deadline: deadline(req, at),
		ReadAt: at, Key: req.Key,
	}
	if a := r.response.Attributes; a != nil {
		read.ExpiresMillis = a.ExpiresUnixMillis
	}
	r.withoutValue = req.Op == kringv1.Op_OP_HEAD
	b.reads = append(b.reads, read)
}

// ask puts reads and proposals to the protocol and empties b.
func (n *Node) ask(b *frameWork) {
	if len(b.reads)+len(b.proposals) == 0 {
		return
	}
	n.reads.Add(uint64(len(b.reads)))
	n.writes.Add(uint64(len(b.proposals)))
	n.lookAhead(b.proposals)
	n.engine.do(func(t replica.Time, core *replica.Core) {
		for i := range b.reads {
			core.Step(t, &b.reads[i])
		}
		for _, p := range b.proposals {
			core.Step(t, p)
		}
	})
	for i := range b.reads {
		r := b.reads[i].Token.(*request)
		switch b.reads[i].Result {
		case replica.ReadAllowed:
			r.response.Committed, r.response.TtlMillis = b.reads[i].Committed, b.reads[i].TTLMillis
			r.sink.respond(r)
		case replica.ReadRefused:
			r.finish(&b.reads[i].Answer)
		case replica.ReadWaits:
		}
	}
	clear(b.reads)
	clear(b.proposals)
	b.reads, b.proposals = b.reads[:0], b.proposals[:0]
}

// lookAhead reads what the protocol will judge proposals by, so that it does not read the disk under its lock. What it
// finds is used only if nothing was applied to the partition in between.
func (n *Node) lookAhead(proposals []*replica.Propose) {
	wanted := false
	for _, p := range proposals {
		wanted = wanted || looksAhead(p)
	}
	if !wanted {
		return
	}
	n.engine.mu.Lock()
	for _, p := range proposals {
		if !looksAhead(p) {
			continue
		}
		if mark, ok := n.engine.core.AppliedMark(p.Partition); ok {
			p.Ahead = &replica.Ahead{Mark: mark}
		}
	}
	n.engine.mu.Unlock()
	disk := diskReader{n.cfg.Store}
	for _, p := range proposals {
		if p.Ahead == nil {
			continue
		}
		var err error
		if p.Judged() {
			p.Ahead.State, err = disk.State(p.Partition, p.Entry.Key, p.Increment)
		}
		if i := p.Entry.Idempotency; i != nil && err == nil {
			var kept replica.Kept
			var ok bool
			if kept, ok, err = disk.Kept(p.Partition, i.Key); ok {
				p.Ahead.Kept = &kept
			}
		}
		if err != nil {
			p.Ahead = nil // the protocol reads again and says so
		}
	}
}

func looksAhead(p *replica.Propose) bool { return p.Judged() || p.Entry.Idempotency != nil }

// read reads the applied state into the response. Whether it may be told is the protocol's to say.
func (n *Node) read(r *request, req *kringv1.Request) {
	var (
		v     store.Value
		size  int
		found bool
		err   error
	)
	p := ring.PartitionID(req.Partition)
	if req.Op == kringv1.Op_OP_HEAD {
		v, size, found, err = n.cfg.Store.Head(p, req.Key)
	} else {
		v, found, err = n.cfg.Store.Get(p, req.Key)
		size = len(v.Value)
	}
	resp := &r.response
	if err == nil && found {
		if refusal := n.charge(r, len(v.Value)); refusal != nil {
			fillRefusal(resp, refusal)
			return
		}
	}
	switch {
	case err != nil:
		fillError(resp, err)
	case !found:
		resp.Code = kverr.NotFound
	default:
		resp.Version, resp.Value, resp.ValueBytes = v.Version, v.Value, uint64(size)
		resp.Attributes = fromAttributes(&v.Attributes)
	}
}
