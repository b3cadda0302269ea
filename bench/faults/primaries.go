package faults

import "sync"

// primaries checks that at most one node answers under one epoch of a partition. Partitions are known here by a name that
// stands for one of them: a hot key's tag.
type primaries struct {
	*findings
	mu   sync.Mutex
	seen map[reign]string // who answered
}

type reign struct{ partition, epoch string }

func newPrimaries() *primaries {
	return &primaries{findings: newFindings("one primary an epoch", "epochs of hot partitions"), seen: make(map[reign]string)}
}

// answered notes an answer about a key of the partition.
func (p *primaries) answered(partition string, s Served) {
	if s.Epoch == "" || s.Node == "" {
		return
	}
	r := reign{partition, s.Epoch}
	p.mu.Lock()
	first, known := p.seen[r]
	if !known {
		p.seen[r] = s.Node
	}
	p.mu.Unlock()
	switch {
	case !known:
		p.checked(1)
	case first != s.Node:
		p.violation("partition of %s: both %s and %s answered in epoch %s", partition, first, s.Node, s.Epoch)
	}
}
