package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// Audit writes keys once each, remembers which were acknowledged, and later checks that every one of those is there with
// the right bytes; through any target, in any process.
type Audit struct {
	Target  Target
	Acks    *Acks
	Workers int // default 64
	// Attempts for one key. A write is tried again after any retryable error, an unknown outcome included: the key is
	// written by nobody else, and always with the same bytes. Default 1 for writing, 10 for reading.
	Attempts int
	// OnSecond is told once a second how many keys are done; nil: nobody.
	OnSecond func(done uint64)
}

// maxFindings bounds each list of keys in an AuditReport.
const maxFindings = 100

// AuditReport is what an audit found. It is clean when nothing is Missing, Corrupt or Unreadable.
type AuditReport struct {
	Keys         uint64        `json:"keys"`         // in the audit
	Acknowledged uint64        `json:"acknowledged"` // writes
	Suspected    uint64        `json:"suspected"`    // writes with an unknown outcome
	Refused      uint64        `json:"refused"`      // writes that have not happened
	Verified     uint64        `json:"verified"`     // acknowledged, there, and with the right bytes
	Appeared     uint64        `json:"appeared"`     // never acknowledged, but there with the right bytes: allowed
	Missing      uint64        `json:"missing"`      // acknowledged, gone
	Corrupt      uint64        `json:"corrupt"`      // there with wrong bytes, acknowledged or not
	Older        uint64        `json:"older"`        // there at a version below the acknowledged one
	Unreadable   uint64        `json:"unreadable"`   // could not be read, so nothing is known
	Findings     []string      `json:"findings,omitempty"`
	Errors       ErrorCounts   `json:"errors,omitempty"`
	Elapsed      time.Duration `json:"elapsed_ns"`
}

// ErrorCounts are errors by kverr name.
type ErrorCounts map[string]uint64

// Err is nil for a clean report, else says in one line what was lost.
func (r AuditReport) Err() error {
	if r.Missing+r.Corrupt+r.Older+r.Unreadable == 0 {
		return nil
	}
	return fmt.Errorf("audit of %d acknowledged keys: %d missing, %d corrupt, %d at an older version, %d unreadable",
		r.Acknowledged, r.Missing, r.Corrupt, r.Older, r.Unreadable)
}

// auditor gathers a report from many workers.
type auditor struct {
	audit *Audit
	mu    sync.Mutex
	r     AuditReport
	done  uint64
}

func (a *auditor) note(change func(r *AuditReport)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.r)
	a.done++
}

// find adds a finding; needs mu, that is, a call inside note.
func (r *AuditReport) find(format string, args ...any) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

func (r *AuditReport) failed(err error) {
	if r.Errors == nil {
		r.Errors = ErrorCounts{}
	}
	r.Errors[kverr.Name(kverr.CodeOf(err))]++
}

func (c *Audit) check() error {
	switch {
	case c.Target == nil || c.Acks == nil:
		return errors.New("an audit needs a target and acknowledgements to fill or to check")
	case c.Acks.Settings.Count == 0:
		return errors.New("an audit needs at least one key")
	case c.Acks.Settings.ValueSize < MinValueSize:
		return fmt.Errorf("the value size is %d: an audit needs at least %d bytes", c.Acks.Settings.ValueSize, MinValueSize)
	}
	return nil
}

// run calls f for every key, each second tells OnSecond, and gives the report even when ctx ended it early.
func (c *Audit) run(ctx context.Context, f func(ctx context.Context, a *auditor, i uint64) error) (AuditReport, error) {
	if err := c.check(); err != nil {
		return AuditReport{}, err
	}
	start, a := time.Now(), &auditor{audit: c}
	stop := everySecond(func() {
		a.mu.Lock()
		done := a.done
		a.mu.Unlock()
		if c.OnSecond != nil {
			c.OnSecond(done)
		}
	})
	err := each(ctx, c.Acks.Settings.Count, orDefault(c.Workers, 64), func(ctx context.Context, _ int, i uint64) error {
		return f(ctx, a, i)
	})
	stop()
	acked, suspected := c.Acks.Len()
	a.r.Keys, a.r.Acknowledged, a.r.Suspected = c.Acks.Settings.Count, uint64(acked), uint64(suspected)
	a.r.Elapsed = time.Since(start)
	return a.r, err
}

func (s AuditSettings) pair(i uint64) (key, value []byte) {
	key = Keys{Prefix: s.Prefix}.Append(nil, i)
	return key, AppendValue(nil, key, s.Seed+i, s.ValueSize)
}

// Write writes every key once. Failed writes are counted, not returned: the error is for what ended the audit itself,
// the end of ctx or of the disk that keeps the acknowledgements.
func (c *Audit) Write(ctx context.Context) (AuditReport, error) {
	return c.run(ctx, func(ctx context.Context, a *auditor, i uint64) error {
		key, value := c.Acks.Settings.pair(i)
		var version uint64
		unknown := false
		err := retry(ctx, orDefault(c.Attempts, 1), func() (err error) {
			version, err = c.Target.Put(ctx, key, value)
			// A refusal after an unknown outcome does not make it known.
			unknown = unknown || kverr.OutcomeOf(kverr.CodeOf(err)) == kverr.Unknown
			return err
		})
		switch {
		case err == nil:
			a.note(func(*AuditReport) {})
			return c.Acks.Acknowledge(i, version)
		case unknown:
			a.note(func(r *AuditReport) { r.failed(err) })
			return c.Acks.Suspect(i)
		}
		a.note(func(r *AuditReport) { r.Refused++; r.failed(err) })
		return nil
	})
}

// Verify reads every key, also those never acknowledged, and compares bytes and versions. What it finds is in the
// report (see AuditReport.Err); the error is for an early end.
func (c *Audit) Verify(ctx context.Context) (AuditReport, error) {
	return c.run(ctx, func(ctx context.Context, a *auditor, i uint64) error {
		key, want := c.Acks.Settings.pair(i)
		version, acked := c.Acks.Acknowledged(i)
		var read Read
		err := retry(ctx, orDefault(c.Attempts, 10), func() (err error) {
			read, err = c.Target.Get(ctx, key, nil)
			return err
		})
		if err != nil && ctx.Err() != nil {
			return kverr.As(ctx.Err())
		}
		a.note(func(r *AuditReport) { r.judge(key, want, version, acked, read, err) })
		return nil
	})
}

func (r *AuditReport) judge(key, want []byte, version uint64, acked bool, read Read, err error) {
	switch {
	case kverr.CodeOf(err) == kverr.NotFound:
		if acked {
			r.Missing++
			r.find("key %q: acknowledged at version %d, missing", key, version)
		}
	case err != nil:
		r.failed(err)
		if acked {
			r.Unreadable++
			r.find("key %q: acknowledged at version %d, unreadable: %v", key, version, err)
		}
	case string(read.Value) != string(want):
		r.Corrupt++
		if _, cause := CheckValue(key, read.Value); cause != nil {
			r.find("%v", cause)
		} else {
			r.find("key %q: a sound value, but not the one that this audit wrote", key)
		}
	case acked && read.Version != 0 && read.Version < version:
		r.Older++
		r.find("key %q: acknowledged at version %d, there at %d", key, version, read.Version)
	case acked:
		r.Verified++
	default:
		r.Appeared++
	}
}
