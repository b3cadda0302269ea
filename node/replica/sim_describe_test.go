package replica

import (
	"fmt"
	"strings"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// What a transcript says.

func describeEvent(ev Event) string {
	switch ev := ev.(type) {
	case *Tick:
		return "tick"
	case *Synced:
		return fmt.Sprintf("synced to record %d", ev.Position)
	case *Applied:
		var b strings.Builder
		b.WriteString("applied")
		for _, a := range ev.Batch {
			fmt.Fprintf(&b, " p%d:%d", a.Partition, a.Entry.Seq)
		}
		return b.String()
	case *Received:
		return fmt.Sprintf("← %s %s", ev.From.Node, describeFrame(ev.Frame))
	case *PeerUp:
		return fmt.Sprintf("connected to %s, boot %d", ev.Peer.Node, ev.Boot)
	case *PeerDown:
		return fmt.Sprintf("lost %s", ev.Peer.Node)
	case *Configure:
		var b strings.Builder
		b.WriteString("configure")
		for i := range ev.Partitions {
			b.WriteString(" " + describePartition(&ev.Partitions[i]))
		}
		return b.String()
	case *Release:
		return fmt.Sprintf("release p%d epoch %v to %s", ev.Partition, ev.Epoch, ev.To.Node)
	case *Leave:
		return "leave"
	case *Installing:
		return fmt.Sprintf("installing p%d generation %d", ev.Partition, ev.Generation)
	case *Installed:
		return fmt.Sprintf("installed p%d generation %d: %d@%v", ev.Partition, ev.Generation, ev.Seq, ev.SeqEpoch)
	case *InstallFailed:
		return fmt.Sprintf("install of p%d failed, generation %d", ev.Partition, ev.Generation)
	case *Drop:
		return fmt.Sprintf("drop p%d epoch %v for generation %d", ev.Partition, ev.Epoch, ev.Generation)
	case *Propose:
		return fmt.Sprintf("propose p%d epoch %v: %v", ev.Partition, ev.Epoch, ev.Token)
	case *Read:
		return fmt.Sprintf("read p%d epoch %v: %v", ev.Partition, ev.Epoch, ev.Token)
	}
	return fmt.Sprintf("%T", ev)
}

func describePartition(p *ring.Partition) string {
	released := ""
	if p.Released {
		released = " released"
	}
	if p.SeqFloor != 0 {
		released += fmt.Sprintf(" above %d", p.SeqFloor)
	}
	return fmt.Sprintf("p%d epoch %v primary %s in sync %s joining %s%s", p.ID, p.Epoch, p.Primary.Node, names(p.InSync),
		names(p.Joining), released)
}

func names(set []ring.Replica) string {
	var out []string
	for _, r := range set {
		out = append(out, string(r.Node))
	}
	return "{" + strings.Join(out, " ") + "}"
}

func describeEntry(b []byte) string {
	var e entry.Entry
	if err := entry.Decode(b, &e); err != nil {
		return err.Error()
	}
	what := [...]string{"?", "no-op", "put", "delete", "expiry of"}[e.Op]
	if e.Op != entry.OpNoop {
		what += fmt.Sprintf(" %s by op %d", e.Key, requestNumber(e.Request))
	}
	return fmt.Sprintf("%d@%v(%s)", e.Seq, e.Epoch, what)
}

func describeRecord(r *entry.Record) string {
	switch r.Kind {
	case entry.RecordEntry:
		return fmt.Sprintf("p%d %s", r.Partition, describeEntry(r.Payload))
	case entry.RecordPromise:
		return fmt.Sprintf("p%d promise of epoch %v", r.Partition, r.Epoch)
	case entry.RecordOpen, entry.RecordDrop:
		what := map[entry.RecordKind]string{entry.RecordOpen: "opening", entry.RecordDrop: "dropping"}[r.Kind]
		return fmt.Sprintf("p%d %s of generation %d", r.Partition, what, r.Generation)
	case entry.RecordFlip:
		return fmt.Sprintf("p%d flip to generation %d at %d@%v", r.Partition, r.Generation, r.Seq, r.Epoch)
	case entry.RecordJump:
		return fmt.Sprintf("p%d jump to %d@%v", r.Partition, r.Seq, r.Epoch)
	case entry.RecordTruncate:
		return fmt.Sprintf("p%d truncation to %d", r.Partition, r.Seq)
	}
	return fmt.Sprintf("p%d record of kind %d", r.Partition, r.Kind)
}

func describeFrame(f *Frame) string {
	var out []string
	for i := range f.Appends {
		a := &f.Appends[i]
		s := fmt.Sprintf("append p%d epoch %v after %d@%v committed %d", a.Partition, a.Epoch, a.PrevSeq, a.PrevEpoch, a.Committed)
		if a.Barrier != 0 {
			s += fmt.Sprintf(" barrier %d", a.Barrier)
		}
		if a.FetchSnapshot {
			s += " fetch a snapshot"
		}
		if a.Configuration != nil {
			s += " +configuration"
		}
		for j := range a.Entries {
			s += " " + describeEntry(a.Entries[j].Bytes)
		}
		out = append(out, s)
	}
	for _, a := range f.Acks {
		s := fmt.Sprintf("ack p%d epoch %v match %d", a.Partition, a.Epoch, a.Match)
		if a.Mismatch {
			s += fmt.Sprintf(" mismatch, try %d", a.Hint)
		}
		if a.Barrier != 0 {
			s += fmt.Sprintf(" barrier %d", a.Barrier)
		}
		out = append(out, s)
	}
	if f.Beacon != nil {
		s := fmt.Sprintf("beacon %d", f.Beacon.Number)
		for _, e := range f.Beacon.Entries {
			s += fmt.Sprintf(" p%d@%v:%d", e.Partition, e.Epoch, e.Committed)
		}
		out = append(out, s)
	}
	if f.BeaconAck != nil {
		s := fmt.Sprintf("beacon ack %d", f.BeaconAck.Number)
		if len(f.BeaconAck.Exceptions) > 0 {
			s += fmt.Sprintf(" except %v", f.BeaconAck.Exceptions)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}
