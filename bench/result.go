package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// ResultFormat is raised when a field of Result changes its meaning; new fields do not raise it.
const ResultFormat = 1

// Result is a run in figures: what `--json` writes. Times are microseconds where the name ends in _us, else seconds.
type Result struct {
	Format      int               `json:"format"`
	Started     time.Time         `json:"started"`
	Elapsed     float64           `json:"elapsed_seconds"` // of the measured part, to the end of its last operation
	Interrupted bool              `json:"interrupted"`     // the context ended it early
	Target      Description       `json:"target"`
	Settings    Settings          `json:"settings"`
	Machine     Machine           `json:"machine"`
	Versions    Versions          `json:"versions"`
	Operations  uint64            `json:"operations"` // that succeeded
	Throughput  float64           `json:"operations_per_second"`
	Failed      uint64            `json:"failed"`
	Errors      map[string]uint64 `json:"errors"` // by kverr name
	CutOff      uint64            `json:"cut_off"`
	Latency     Summary           `json:"latency"` // all kinds, from the intended start
	FailedAfter Summary           `json:"failed_after"`
	Kinds       map[string]ByKind `json:"kinds"`
	Generator   Generator         `json:"generator"`
	Events      []Event           `json:"events"`
	Seconds     []Second          `json:"seconds"`
	// Processes is what those that were to be measured used. UserBytes is the bytes of keys and values in writes that succeeded;
	// DiskPerUserByte what all processes gave to the disk for each of them, all copies, 0 if not known of one.
	Processes       []ProcessUse    `json:"processes,omitempty"`
	ProcessSeconds  []ProcessSecond `json:"process_seconds,omitempty"`
	UserBytes       uint64          `json:"user_bytes_written"`
	DiskPerUserByte float64         `json:"disk_bytes_per_user_byte,omitempty"`
}

// ByKind is one kind of operation in a Result.
type ByKind struct {
	Latency Summary           `json:"latency"` // from the intended start
	Service Summary           `json:"service"` // from the real start
	Errors  map[string]uint64 `json:"errors,omitempty"`
}

// Settings are what a run was asked for.
type Settings struct {
	Workload     string       `json:"workload"`
	Distribution Distribution `json:"distribution,omitempty"`
	Keys         uint64       `json:"keys,omitempty"`
	KeyPrefix    string       `json:"key_prefix,omitempty"`
	Hot          *Hot         `json:"hot,omitempty"`              // of Hotspot
	ValueSize    int          `json:"value_size_bytes,omitempty"` // if all have one size
	ValueSizes   string       `json:"value_sizes,omitempty"`      // as ParseSizes reads it
	Seed         uint64       `json:"seed,omitempty"`
	Loop         string       `json:"loop"` // open or closed
	Rate         float64      `json:"rate,omitempty"`
	Workers      int          `json:"workers"`
	Duration     float64      `json:"duration_seconds"`
	WarmUp       float64      `json:"warm_up_seconds"`
	MaxLag       float64      `json:"max_lag_seconds,omitempty"`
	Verified     bool         `json:"verified"`
}

// Generator is how the generator itself did.
type Generator struct {
	// Scheduled slots of an open loop; Late ones started over LateAfter past their time, LateBlocked of them because
	// all workers were waiting for the target; Skipped ones were over MaxLag; Unsent ones were left at the end.
	Scheduled   uint64   `json:"scheduled,omitempty"`
	Late        uint64   `json:"late"`
	LateBlocked uint64   `json:"late_blocked"`
	Skipped     uint64   `json:"skipped"`
	Unsent      uint64   `json:"unsent"`
	WakeLag     Summary  `json:"wake_lag"` // how late it woke for slots it had waited for
	CPUSeconds  float64  `json:"cpu_seconds"`
	CPUShare    float64  `json:"cpu_share"`    // of the CPUs it may use
	MachineBusy float64  `json:"machine_busy"` // share of all CPU time, 0 if not known
	Bottleneck  bool     `json:"bottleneck"`   // the figures say more of the generator than of the target
	Notes       []string `json:"notes,omitempty"`
}

// When the generator is called the bottleneck.
const (
	bottleneckCPUShare = 0.9
	bottleneckWakeLag  = 2 * time.Millisecond // at p99
	machineBusyNote    = 0.95
)

// result adds up the run; stopped is when the last worker ended.
func (r *Runner) result(ctx context.Context, stopped time.Time, u usage) (*Result, error) {
	c, rec := r.config, r.recorder
	rec.mu.Lock()
	defer rec.mu.Unlock()
	total := &rec.total
	res := &Result{
		Format: ResultFormat, Started: r.start.UTC(), Elapsed: max(0, stopped.Sub(r.start).Seconds()), Interrupted: ctx.Err() != nil,
		Target: c.Target.Describe(), Settings: r.settings(), Machine: readMachine(), Versions: readVersions(),
		Errors: byName(total.errors), CutOff: total.interrupted,
		Kinds: map[string]ByKind{}, Events: append([]Event{}, rec.events...), Seconds: append([]Second{}, rec.seconds...),
	}
	for _, n := range total.errors {
		res.Failed += n
	}
	window := r.window(ctx, stopped)
	if s := window.Sub(r.start).Seconds(); s > 0 {
		res.Throughput = float64(total.inWindow) / s
	}
	var err error
	if res.Latency, err = total.all().summarizeWhole(); err != nil {
		return nil, err
	}
	res.Operations, res.UserBytes = res.Latency.Count, total.userBytes
	if res.FailedAfter, err = total.failed.summarizeWhole(); err != nil {
		return nil, err
	}
	for k := range kindCount {
		var b ByKind
		if b.Latency, err = total.latency[k].summarizeWhole(); err != nil {
			return nil, err
		}
		if b.Service, err = total.service[k].summarizeWhole(); err != nil {
			return nil, err
		}
		if b.Errors = byName(total.errorsByKind[k]); b.Latency.Count > 0 || len(b.Errors) > 0 {
			res.Kinds[k.String()] = b
		}
	}
	res.Generator = r.generator(total, window, u)
	if r.meter != nil {
		r.meter.fill(res)
	}
	return res, nil
}

// window is the end of the time that throughput is taken over and slots were due in: the planned end, unless something
// else ended the run before. An open loop that kept to its schedule is done a little before the planned end.
func (r *Runner) window(ctx context.Context, stopped time.Time) time.Time {
	limited := r.config.Operations > 0 && r.claimed.Load() >= r.config.Operations
	switch {
	case r.end.IsZero(), stopped.Before(r.end) && (ctx.Err() != nil || limited):
		return stopped
	}
	return r.end
}

func (r *Runner) settings() Settings {
	c := r.config
	s := Settings{
		Workload: c.Workload.Name(), Loop: "closed", Workers: c.Pace.Workers, Duration: c.Duration.Seconds(),
		WarmUp: c.WarmUp.Seconds(), Verified: !c.Unverified,
	}
	if c.Pace.Open() {
		s.Loop, s.Rate, s.MaxLag = "open", c.Pace.Rate, c.Pace.MaxLag.Seconds()
	}
	if m, ok := c.Workload.(*Mix); ok {
		s.Distribution, s.Keys, s.KeyPrefix = m.Distribution, m.Keys.Count, m.Keys.Prefix
		s.ValueSizes, s.Seed, s.Verified = m.Sizes.String(), m.Seed, s.Verified && m.Verifies()
		if size, ok := m.Sizes.Fixed(); ok {
			s.ValueSize = size
		}
		if m.Distribution == Hotspot {
			s.Hot = &m.Hot
		}
	}
	return s
}

// generator judges the generator; window is the end of the time that slots were due in.
func (r *Runner) generator(t *counts, window time.Time, u usage) Generator {
	g := Generator{
		Late: t.late, LateBlocked: t.lateBlocked, Skipped: t.skipped,
		WakeLag: t.wakeLag.summarize(), CPUSeconds: u.process.Seconds(),
	}
	if u.elapsed > 0 {
		g.CPUShare = u.process.Seconds() / u.elapsed.Seconds() / float64(runtime.GOMAXPROCS(0))
	}
	if all := u.machineBusy + u.machineIdle; all > 0 {
		g.MachineBusy = float64(u.machineBusy) / float64(all)
	}
	if r.config.Pace.Open() {
		// Slots are numbered from the warm-up on: those before the window less those before the measured part.
		g.Scheduled = r.slotsBefore(window) - min(r.slotsBefore(r.start), r.slotsBefore(window))
		sent := t.skipped + t.interrupted + uint64(t.all().count()+t.failed.count())
		g.Unsent = g.Scheduled - min(g.Scheduled, sent)
	}
	g.judge(r.config.Pace)
	return g
}

// slotsBefore is how many slots of an open loop are due before t.
func (r *Runner) slotsBefore(t time.Time) uint64 {
	const rounding = 1e-6 // of a slot: 3 s at 0.1/s must not become four slots
	n := uint64(max(0, math.Ceil(t.Sub(r.begin).Seconds()*r.config.Pace.Rate-rounding)))
	if r.config.Operations > 0 {
		n = min(n, r.config.Operations)
	}
	return n
}

func (g *Generator) judge(p Pace) {
	note := func(format string, args ...any) { g.Notes = append(g.Notes, fmt.Sprintf(format, args...)) }
	if g.CPUShare >= bottleneckCPUShare {
		g.Bottleneck = true
		note("the generator used %.0f%% of the CPU time it may use: give it more cores or lower the load", 100*g.CPUShare)
	}
	if g.WakeLag.P99 > micros(int64(bottleneckWakeLag)) {
		g.Bottleneck = true
		note("the generator started 1%% of its operations %.1f ms or more after their time, though it was free: it is short of CPU",
			g.WakeLag.P99/1e3)
	}
	if g.MachineBusy >= machineBusyNote {
		note("the machine was %.0f%% busy: generator and servers, if they share it, took CPU from each other", 100*g.MachineBusy)
	}
	if g.LateBlocked > 0 {
		note("%d operations waited because %d were under way: the target did not hold the rate, or the limit is too low", g.LateBlocked, p.Workers)
	}
	if g.Skipped+g.Unsent > 0 {
		note("%d operations were never sent: the target did not hold the rate, and the latencies are a lower bound", g.Skipped+g.Unsent)
	}
}

func (h histogram) count() int64 {
	if h.Histogram == nil {
		return 0
	}
	return h.TotalCount()
}

// WriteJSON writes the result, indented.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// Err is what a run must not show, whatever its speed: values with wrong bytes, or nothing that succeeded.
func (r *Result) Err() error {
	switch n := r.Errors[kverr.Name(kverr.Corrupt)]; {
	case n > 0:
		return fmt.Errorf("%d values were read back wrong", n)
	case r.Operations == 0 && r.Failed > 0:
		return fmt.Errorf("all of %d operations failed: %s", r.Failed, formatErrors(r.Errors))
	}
	return nil
}
