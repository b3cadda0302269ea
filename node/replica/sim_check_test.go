package replica

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// ghost sees everything and knows what must never change.
type ghost struct {
	w        *world
	eras     [][]*era // by partition, the oldest first
	opens    map[openKey]opener
	before   map[*partition]uint64
	expiries map[expiryKey]*op // logged ones
	brought  map[jumpKey]map[string]simValue
}

type expiryKey struct {
	partition ring.PartitionID
	seq       uint64
	epoch     ring.Epoch
}

// expires takes note of an expiry when it is first logged: from then on, and not before, the key may be gone. What was logged in an epoch
// whose promise was not durable, by a primary that then crashed, is gone without a trace (rule 6), and another entry may stand there.
func (g *ghost) expires(e *entry.Entry, r *entry.Record) {
	k := expiryKey{r.Partition, e.Seq, e.Epoch}
	if o := g.expiries[k]; o != nil && bytes.Equal(o.entry.Key, e.Key) {
		return
	}
	g.w.stamp++
	copied := *e
	g.expiries[k] = &op{w: g.w, kind: opExpire, key: int(e.Key[1] - '0'), partition: r.Partition, call: g.w.stamp, entry: &copied}
	if e.Millis() < e.Attributes.ExpiresMillis {
		g.w.fail("partition %d: entry %d takes a key away before its time", r.Partition, e.Seq)
	}
}

// sees ends expiries that a primary has applied. Nobody is told of one, so it may take effect long after it was committed, just as
// what comes before it in the log may: but no read that begins when the primary has applied it may find the key.
func (g *ghost) sees(era *era, p *partition) {
	era.unseen = slices.DeleteFunc(era.unseen, func(o *op) bool {
		if o.entry.Seq > p.applied {
			return false
		}
		o.end(opDone)
		return true
	})
}

// counts takes an entry for executed: once.
func (g *ghost) counts(era *era, p ring.PartitionID, b []byte) {
	e := new(entry.Entry)
	if err := entry.Decode(b, e); err != nil {
		g.w.fail("partition %d: committed entry: %v", p, err)
	}
	if o := g.expiries[expiryKey{p, e.Seq, e.Epoch}]; e.Op == entry.OpExpire && o != nil && o.state != opDone {
		g.w.saw(sawExpiry)
		o.state = opDone
		era.expired, era.unseen = append(era.expired, o), append(era.unseen, o)
	}
	if e.Request.IsZero() {
		return
	}
	number := requestNumber(e.Request)
	if first := era.logged[number]; first != nil {
		g.w.fail("%v is executed twice, as entries %d and %d", g.w.ops[number-1], first.Seq, e.Seq)
	}
	if first := era.kept[number]; first != 0 {
		g.w.fail("%v is executed twice, as entry %d before the override and as %d", g.w.ops[number-1], first, e.Seq)
	}
	era.logged[number] = e
}

type openKey struct {
	partition ring.PartitionID
	epoch     ring.Epoch
}

// opener is who opened an epoch.
type opener struct {
	replica ring.Replica
	life    int
}

func newGhost(w *world) *ghost {
	g := &ghost{
		w: w, opens: make(map[openKey]opener), before: make(map[*partition]uint64),
		expiries: make(map[expiryKey]*op), brought: make(map[jumpKey]map[string]simValue),
	}
	for range w.profile.partitions {
		g.eras = append(g.eras, []*era{newEra(0)})
	}
	return g
}

func (g *ghost) opened(p ring.PartitionID, e ring.Epoch) bool {
	_, ok := g.opens[openKey{p, e}]
	return ok
}

// has reports whether the entry of that epoch is the one committed at seq.
func (e *era) has(seq uint64, epoch ring.Epoch) bool {
	b := e.committed[seq]
	if b == nil {
		return false
	}
	_, born, err := entry.DecodeHeader(b)
	return err == nil && born == epoch
}

// check asserts a node's invariants and learns what it holds for committed.
func (g *ghost) check(n *simNode) {
	for _, p := range n.core.all {
		if err := p.invariants(); err != nil {
			g.w.fail("%s: partition %d: %v", n.replica.Node, p.id, err)
		}
		from, known := g.before[p]
		if !known {
			from = p.applied
		}
		g.mayBegin(n, p, from)
		for seq := from + 1; seq <= p.committed; seq++ {
			g.commits(n, p, seq)
		}
		g.before[p] = p.committed
		if p.leads() {
			g.sees(g.eraOf(p), p)
		}
		if p.role == rolePrimary && n.core.canAck(p) {
			g.opensBy(n, p)
		}
		for i := range p.members {
			if until := p.members[i].lease; until > n.core.now.add(n.core.cfg.Lease) {
				g.w.fail("%s: partition %d: a lease of %v", n.replica.Node, p.id, time.Duration(until-n.core.now))
			}
		}
	}
}

func (p *partition) invariants() error {
	switch {
	case p.applied > p.queued, p.queued > p.committed, p.committed > p.last:
		return fmt.Errorf("applied %d, queued %d, committed %d, last %d do not rise", p.applied, p.queued, p.committed, p.last)
	case p.durable > p.last:
		return fmt.Errorf("durable %d above last %d", p.durable, p.last)
	case p.tailBase+uint64(p.tail.len()) != p.last:
		return fmt.Errorf("%d entries in memory after %d, last is %d", p.tail.len(), p.tailBase, p.last)
	case p.role == roleBackup && p.matched > p.last:
		return fmt.Errorf("matched %d above last %d", p.matched, p.last)
	}
	for i := range p.members {
		if m := &p.members[i]; m.match > p.last || m.next > p.last+1 {
			return fmt.Errorf("member %v at match %d, next %d, last is %d", m.peer.replica, m.match, m.next, p.last)
		}
	}
	return nil
}

// commits takes an entry for committed and, the first time, expects it on every in-sync disk.
func (g *ghost) commits(n *simNode, p *partition, seq uint64) {
	b := n.disk.log(p.id).entries[seq-1]
	if b == nil {
		return // trimmed: it had been applied, so it had been seen
	}
	era := g.eraOf(p)
	if old := era.committed[seq]; old != nil {
		if !bytes.Equal(old, b) {
			g.w.fail("%s: partition %d: entry %d is committed as %s, and was as %s", n.replica.Node, p.id, seq,
				describeEntry(b), describeEntry(old))
		}
		return
	}
	era.committed[seq] = b
	era.highest = max(era.highest, seq)
	g.counts(era, p.id, b)
	if prior := era.committed[seq-1]; prior != nil {
		var e, f entry.Entry
		if entry.Decode(prior, &e) == nil && entry.Decode(b, &f) == nil && e.HybridTime >= f.HybridTime {
			g.w.fail("partition %d: hybrid time falls from entry %d to %d", p.id, seq-1, seq)
		}
	}
	if !p.leads() {
		return
	}
	for _, r := range p.config.InSync {
		m := g.w.nodeOf(r)
		if m.replica != r {
			continue // its disk is gone since it has acked
		}
		l := m.disk.log(p.id)
		if l.dropped > p.config.Epoch {
			continue // what it has acked in this epoch it was free to drop in a later one
		}
		if l.last() < seq || l.entries[seq-1] != nil && !bytes.Equal(l.entries[seq-1], b) {
			g.w.fail("partition %d: entry %d is committed in epoch %v without %s", p.id, seq, p.config.Epoch, r.Node)
		}
	}
}

func (g *ghost) opensBy(n *simNode, p *partition) {
	key, who := openKey{p.id, p.config.Epoch}, opener{n.replica, n.life}
	if by, ok := g.opens[key]; !ok {
		g.opens[key] = who
	} else if by != who {
		g.w.fail("partition %d: epoch %v opened by %v and by %v", p.id, p.config.Epoch, by, who)
	}
	if era := g.eraOf(p); era.opened == 0 {
		g.w.stamp++
		era.opened = g.w.stamp
	}
}

// keeps reports whether n must hold what is committed: it is in sync by the newest decision, which a coordinator that was
// restored and is still asking around does not know. What a copy that was chosen holds counts from when its era begins.
func (g *ghost) keeps(n *simNode, p ring.PartitionID) bool {
	current := &g.w.table.current[p]
	return g.w.table.answered == nil && current.IsInSync(n.replica) && current.SeqFloor == g.newest(p).floor
}

// truncated: no replica that counts voids a committed entry. Another may: what it holds can have been committed since it was left out,
// by a primary that it has not heard of yet.
func (g *ghost) truncated(n *simNode, r *entry.Record) {
	l, era := n.disk.log(r.Partition), g.eraOf(n.core.partitions[r.Partition])
	for seq := r.Seq + 1; g.keeps(n, r.Partition) && seq <= l.last(); seq++ {
		if b := era.committed[seq]; b != nil && bytes.Equal(b, l.entries[seq-1]) {
			g.w.fail("%s: partition %d: committed entry %d is truncated", n.replica.Node, r.Partition, seq)
		}
	}
}

// flipped: no replica that counts goes back by turning to a snapshot, and what it turns to is what was committed.
func (g *ghost) flipped(n *simNode, r *entry.Record) {
	newest, era := g.newest(r.Partition), g.eraOf(n.core.partitions[r.Partition])
	if g.keeps(n, r.Partition) && r.Seq < newest.highest && n.disk.log(r.Partition).last() >= newest.highest {
		g.w.fail("%s: partition %d: in sync, and goes back to %d of %d committed", n.replica.Node, r.Partition, r.Seq, newest.highest)
	}
	if r.Seq < era.floor && r.Seq > 0 { // to nothing is no way back
		g.w.fail("%s: partition %d: flips to entry %d of what was given up for what begins above %d", n.replica.Node, r.Partition, r.Seq, era.floor)
	}
	if b := era.committed[r.Seq]; b != nil && !era.has(r.Seq, r.Epoch) {
		g.w.fail("%s: partition %d: flips to entry %d of epoch %v, committed is %s", n.replica.Node, r.Partition, r.Seq, r.Epoch, describeEntry(b))
	}
}

// crashed: no in-sync replica's crash takes a committed entry with it.
func (g *ghost) crashed(n *simNode) {
	for id := range g.eras {
		p := ring.PartitionID(id)
		highest := g.newest(p).highest
		if last := n.disk.log(p).last(); g.keeps(n, p) && g.opened(p, g.w.table.current[p].Epoch) && last < highest {
			g.w.fail("%s: partition %d: the crash left %d entries of %d committed", n.replica.Node, p, last, highest)
		}
	}
}

// final: after healing, all in-sync copies hold the same committed log.
func (g *ghost) final() {
	for id := range g.eras {
		p := ring.PartitionID(id)
		era := g.newest(p)
		for _, r := range g.w.table.current[p].InSync {
			n := g.w.nodeOf(r)
			if n.dead || n.replica != r {
				continue
			}
			l := n.disk.log(p)
			for seq, b := range era.committed {
				if seq > l.last() || l.entries[seq-1] != nil && !bytes.Equal(l.entries[seq-1], b) {
					g.w.fail("%s: partition %d: committed entry %d is missing at the end", r.Node, p, seq)
				}
			}
			if applied := n.disk.state[p].applied; applied != era.highest {
				g.w.late("%s: partition %d: applied %d of %d when all is quiet", r.Node, p, applied, era.highest)
			}
		}
	}
}

// keyState is what one key is.
type keyState struct {
	exists  bool
	version uint64
	value   int64
	expires uint64
	floor   uint64 // seq of the mutation that made it so
}

func (s keyState) told() uint64 {
	if s.exists {
		return s.version
	}
	return 0
}

// keyModel is one key for Porcupine. Inputs are *op.
var keyModel = porcupine.Model{
	Init: func() any { return keyState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, o := state.(keyState), input.(*op)
		switch {
		case o.kind == opGet:
			return o.out.existed == s.exists && (!s.exists || o.out.version == s.version && o.out.value == s.value), s
		case o.kind == opExpire:
			gone := keyState{floor: o.entry.Seq}
			return o.prior == s.floor && s.exists && s.expires == o.entry.Attributes.ExpiresMillis, gone
		case o.state == opDone && o.out.failed:
			return !o.condition.holds(s.told(), s.exists) && o.out.version == s.told() && o.out.existed == s.exists, s
		case !o.condition.holds(s.told(), s.exists):
			return false, s
		case o.entry == nil:
			return o.kind == opDelete && !s.exists, s
		case o.prior != s.floor, o.state == opDone && (o.existed || o.kind == opDelete) && o.out.existed != s.exists:
			return false, s
		}
		return o.change(s)
	},
	Equal: func(a, b any) bool { return a.(keyState) == b.(keyState) },
	DescribeOperation: func(input, _ any) string {
		o := input.(*op)
		return fmt.Sprintf("%v → %+v", o, o.out)
	},
}

// change is what a mutation that was logged makes of s.
func (o *op) change(s keyState) (bool, keyState) {
	next := keyState{exists: true, version: o.entry.Seq, value: int64(o.number), expires: o.entry.Attributes.ExpiresMillis, floor: o.entry.Seq}
	switch o.kind {
	case opDelete:
		return true, keyState{floor: o.entry.Seq}
	case opIncrement:
		next.value = s.value + o.delta
		if o.state == opDone && o.out.value != next.value || s.exists && next.expires != s.expires {
			return false, s
		}
	default:
	}
	return next.value == numberOf(o.entry.Value), next
}

// linearizable puts every key's history before Porcupine, that of each era by itself. A mutation of unknown outcome may take effect
// at any time from its call on; the ghost knows whether it was ever committed, so that one that was not must never be seen.
func (w *world) linearizable() error {
	for _, o := range w.ops {
		for _, era := range w.ghost.eras[o.partition] {
			e := era.logged[o.number]
			if e != nil && (o.state == opDropped || o.state == opDone && (o.out.failed || o.out.version != e.Seq)) {
				return fmt.Errorf("%v was told %+v in state %d, and yet is committed as entry %d", o, o.out, o.state, e.Seq)
			}
		}
	}
	for k := range w.profile.keys {
		for i := range w.ghost.eras[k%w.profile.partitions] {
			if err := w.linearizableIn(k, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// linearizableIn judges one key in one era.
func (w *world) linearizableIn(k, i int) error {
	eras := w.ghost.eras[k%w.profile.partitions]
	era := eras[i]
	var history []porcupine.Operation
	add := func(o *op, ret int64) {
		history = append(history, porcupine.Operation{ClientId: int(o.number), Input: o, Call: o.call, Return: ret})
	}
	for _, o := range w.ops {
		if o.key != k || eraOfOp(eras, o) != i {
			continue
		}
		o.entry = era.logged[o.number]
		switch {
		case o.state == opDone:
			add(o, o.ret)
		case o.entry != nil:
			add(o, math.MaxInt64)
		}
	}
	for _, o := range era.expired {
		switch {
		case o.key != k:
		case o.ret == 0: // no primary has come to apply it
			add(o, math.MaxInt64)
		default:
			add(o, o.ret)
		}
	}
	limit := 20 * time.Second // a good history takes milliseconds; to see that one is bad may take for ever
	if w.without != nil && w.without.rule != "" {
		limit = 500 * time.Millisecond
	}
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	linkMutations(history)
	model := keyModel
	model.Init = func() any { return era.initially(k) }
	if porcupine.CheckOperationsTimeout(model, history, limit) != porcupine.Ok {
		return fmt.Errorf("the history of k%d in era %d is not linearizable:\n%s", k, i, describeHistory(history))
	}
	return nil
}

// linkMutations tells every mutation which one of its key came before it in the log. The order is known, and with it
// Porcupine need not try the others: what remains to be found is whether calls, returns and reads agree with it.
func linkMutations(history []porcupine.Operation) {
	var logged []*op
	for _, h := range history {
		if o := h.Input.(*op); o.entry != nil {
			logged = append(logged, o)
		}
	}
	slices.SortFunc(logged, func(a, b *op) int { return cmp.Compare(a.entry.Seq, b.entry.Seq) })
	for i := 1; i < len(logged); i++ {
		logged[i].prior = logged[i-1].entry.Seq
	}
}

func describeHistory(history []porcupine.Operation) string {
	var b bytes.Buffer
	slices.SortFunc(history, func(x, y porcupine.Operation) int { return int(x.Call - y.Call) })
	for _, h := range history {
		o := h.Input.(*op)
		fmt.Fprintf(&b, "  %6d to %6d: %v → %+v logged as %+v\n", h.Call, min(h.Return, 999999), o, o.out, o.entry)
	}
	return b.String()
}
