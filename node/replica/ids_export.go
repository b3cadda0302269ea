package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// A chunk of exported request ids, little endian: format byte; what is covered, from (exclusive) and through, 8 bytes each; then
// marks of id, 16 bytes, seq, hybrid milliseconds and number, 8 each, existed, 1. Seqs rise from chunk to chunk.
const (
	formatRequests     = 1
	requestHeaderBytes = 1 + 2*8
	requestMarkBytes   = 16 + 3*8 + 1
	marksInChunk       = 1024
	maxExportedMarks   = 32 << 10 // 1.3 MB: they travel in one message
)

var errMalformedRequests = errors.New("replica: malformed request ids")

// Requests exports what this node remembers of a partition's recent requests, for Installed.Requests of whoever takes a
// snapshot in. Call it after the snapshot was opened: what is logged after that reaches the other through the log.
func (c *Core) Requests(id ring.PartitionID) [][]byte {
	p := c.partitions[id]
	if p == nil {
		return nil
	}
	r := &p.requests
	first, from := max(0, r.recent.len()-maxExportedMarks), r.from
	if first > 0 {
		from = r.recent.at(first - 1).seq
	}
	var out [][]byte
	for i := first; i == first || i < r.recent.len(); i += marksInChunk {
		n := min(marksInChunk, r.recent.len()-i)
		b := make([]byte, 0, requestHeaderBytes+n*requestMarkBytes)
		b = append(b, formatRequests)
		b = binary.LittleEndian.AppendUint64(b, from)
		b = binary.LittleEndian.AppendUint64(b, p.last)
		for j := range n {
			b = appendRequestMark(b, r.recent.at(i+j))
		}
		out = append(out, b)
	}
	return out
}

func appendRequestMark(b []byte, m *requestMark) []byte {
	le := binary.LittleEndian
	b = append(b, m.id[:]...)
	b = le.AppendUint64(b, m.seq)
	b = le.AppendUint64(b, m.millis)
	b = le.AppendUint64(b, uint64(m.number))
	existed := byte(0)
	if m.existed {
		existed = 1
	}
	return append(b, existed)
}

// CheckRequests reports why Installed.Requests could not be taken.
func CheckRequests(chunks [][]byte) error {
	_, _, _, err := decodeRequests(chunks)
	return err
}

func decodeRequests(chunks [][]byte) (marks []requestMark, from, through uint64, err error) {
	le := binary.LittleEndian
	last := uint64(0)
	for i, b := range chunks {
		if len(b) < requestHeaderBytes || b[0] != formatRequests || (len(b)-requestHeaderBytes)%requestMarkBytes != 0 {
			return nil, 0, 0, fmt.Errorf("%w: chunk of %d bytes", errMalformedRequests, len(b))
		}
		f, t := le.Uint64(b[1:]), le.Uint64(b[9:])
		if i == 0 {
			from, through = f, t
		}
		if f != from || t != through {
			return nil, 0, 0, fmt.Errorf("%w: chunks of two exports", errMalformedRequests)
		}
		for b = b[requestHeaderBytes:]; len(b) > 0; b = b[requestMarkBytes:] {
			m := requestMark{
				id: entry.RequestID(b[:16]), seq: le.Uint64(b[16:]), millis: le.Uint64(b[24:]), number: int64(le.Uint64(b[32:])),
				existed: b[40] == 1,
			}
			if m.seq <= last || m.seq <= from || b[40] > 1 {
				return nil, 0, 0, fmt.Errorf("%w: entry %d after %d", errMalformedRequests, m.seq, last)
			}
			last = m.seq
			marks = append(marks, m)
		}
	}
	return marks, from, through, nil
}

// installRequests replaces what p remembers, and what it knows of its data, by what came with a snapshot that ends at seq. An export that does not reach so
// far, or cannot be read, covers nothing: then repeats of requests up to seq have an unknown outcome.
func (c *Core) installRequests(p *partition, seq uint64, chunks [][]byte) {
	c.requestCount -= p.requests.recent.len()
	p.requests = requestIDs{from: seq}
	p.tailIndex, p.idempotent, p.expiresFrom = tailIndex{}, nil, 0
	marks, from, through, err := decodeRequests(chunks)
	if err != nil || len(chunks) == 0 || through < seq {
		return
	}
	p.requests.from = min(from, seq)
	for _, m := range marks {
		if m.seq > seq {
			break // comes through the log
		}
		p.requests.recent.push(m)
		c.requestCount++
	}
}

const recoverChunk = 512 // entries read at a time

// recoverRequests reads the ids of the log's last Config.RequestsFor, counted back from the newest entry of this node, and
// of all that is not known to be committed.
func (c *Core) recoverRequests(p *partition, r *entry.Recovered) error {
	p.requests.from = r.Trim
	horizon := uint64(0)
	if window := uint64(c.cfg.RequestsFor.Milliseconds()); c.hybrid>>16 > window {
		horizon = c.hybrid>>16 - window
	}
	var chunks [][]requestMark // newest first
	for to := r.Last; to > r.Trim; {
		from := max(r.Trim+1, to-min(to-1, recoverChunk-1))
		chunk, old, err := c.readRequests(p, from, to, horizon)
		if err != nil {
			return err
		}
		chunks = append(chunks, chunk)
		if to = from - 1; old && to <= r.Applied {
			p.requests.from = to
			break
		}
	}
	for _, marks := range slices.Backward(chunks) {
		for _, m := range marks {
			p.requests.recent.push(m)
		}
		c.requestCount += len(marks)
	}
	return nil
}

// readRequests reads the entries from..to; old means that the first of them is from before horizon.
func (c *Core) readRequests(p *partition, from, to, horizon uint64) (marks []requestMark, old bool, err error) {
	var e entry.Entry
	for next := from; next <= to; {
		encoded, err := c.disk.Entries(p.id, next, to, 1<<20)
		if err != nil {
			return nil, false, fmt.Errorf("replica: partition %d: recent requests: %w", p.id, err)
		}
		for _, b := range encoded {
			if err := entry.Decode(b, &e); err != nil {
				return nil, false, fmt.Errorf("replica: partition %d: entry %d: %w", p.id, next, err)
			}
			if e.Seq == from {
				old = e.Millis() < horizon
			}
			if !e.Request.IsZero() {
				marks = append(marks, requestMark{id: e.Request, seq: e.Seq, millis: e.Millis(), number: e.Number(), existed: e.Existed})
			}
			next = e.Seq + 1
		}
	}
	return marks, old, nil
}
