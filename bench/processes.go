package bench

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// ProcessRef says where the use of a process is read: from /proc for one on this machine, else from the metrics that it serves.
type ProcessRef struct {
	Pid     int
	Metrics string // http://HOST:PORT/metrics; used if Pid is 0
}

// ProcessUse is what a process used during the measured part of a run. What one that was killed used in its last second may be
// missing.
type ProcessUse struct {
	Name       string  `json:"name"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// PerMillion is the CPU seconds for a million operations of the run that succeeded.
	PerMillion float64 `json:"cpu_seconds_per_million"`
	PeakMemory uint64  `json:"peak_memory_bytes"` // resident
	// DiskWritten is the bytes that the system was given to write to disk for it; null if not known.
	DiskWritten *uint64 `json:"disk_written_bytes,omitempty"`
	Starts      int     `json:"starts"` // times that it was started during the run
}

// ProcessSecond is one look at the processes.
type ProcessSecond struct {
	At     float64            `json:"at_seconds"` // since the measured part began
	CPU    map[string]float64 `json:"cpu_cores"`  // CPU seconds a second, since the look before; absent while it does not run
	Memory map[string]uint64  `json:"memory_bytes"`
}

// processReading is what a process has used since it started.
type processReading struct {
	life    string // tells one run of a process from the next
	cpu     float64
	memory  uint64
	highest uint64 // memory; 0: not known
	written *uint64
}

// meter adds up what processes use over their lives.
type meter struct {
	find func() map[string]ProcessRef
	read func(ctx context.Context, ref ProcessRef) (processReading, error)

	start    time.Time
	begun    bool // the first look was taken: who appears later was started during the run
	uses     map[string]*metered
	seconds  []ProcessSecond
	lastLook time.Time
}

type metered struct {
	use  ProcessUse
	last processReading
	// highestBefore is the highest memory of this life before the run: only above it the highest is of the run.
	highestBefore uint64
}

func newMeter(find func() map[string]ProcessRef, start time.Time) *meter {
	return &meter{find: find, read: readProcess, start: start, uses: make(map[string]*metered)}
}

// lookTimeout bounds one look: metrics of a process that hangs must not hold back the next one.
const lookTimeout = 900 * time.Millisecond

// run looks now and every second, until stopped: that takes the last look.
func (m *meter) run(ctx context.Context) (stop func()) {
	m.look(ctx, time.Now())
	end := everySecond(func() { m.look(ctx, time.Now()) })
	return func() {
		end()
		m.look(ctx, time.Now())
	}
}

// look reads all processes. Those that cannot be read are away.
func (m *meter) look(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	refs := m.find()
	readings := make(map[string]processReading, len(refs))
	var mu sync.Mutex
	var reading sync.WaitGroup
	for name, ref := range refs {
		reading.Go(func() {
			r, err := m.read(ctx, ref)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			readings[name] = r
		})
	}
	reading.Wait()
	m.take(now, readings)
}

// take adds one look's readings.
func (m *meter) take(now time.Time, readings map[string]processReading) {
	second := ProcessSecond{At: now.Sub(m.start).Seconds(), CPU: map[string]float64{}, Memory: map[string]uint64{}}
	for name, r := range readings {
		used := m.add(name, r)
		if length := now.Sub(m.lastLook).Seconds(); m.begun && length > 0 {
			second.CPU[name] = used / length
		}
		second.Memory[name] = r.memory
	}
	if m.begun {
		m.seconds = append(m.seconds, second)
	}
	m.begun, m.lastLook = true, now
}

// add gives the CPU seconds since the look before.
func (m *meter) add(name string, r processReading) float64 {
	u := m.uses[name]
	if u == nil {
		u = &metered{use: ProcessUse{Name: name}}
		m.uses[name] = u
		if !m.begun {
			u.last, u.highestBefore = r, r.highest
		}
	}
	if r.life != u.last.life { // all that this life has used is of the run
		u.use.Starts++
		u.last, u.highestBefore = processReading{}, 0
	}
	used := max(0, r.cpu-u.last.cpu)
	u.use.CPUSeconds += used
	if r.written != nil {
		before := uint64(0)
		if u.last.written != nil {
			before = *u.last.written
		}
		if u.use.DiskWritten == nil {
			u.use.DiskWritten = new(uint64)
		}
		*u.use.DiskWritten += *r.written - min(before, *r.written)
	}
	u.use.PeakMemory = max(u.use.PeakMemory, r.memory)
	if r.highest > u.highestBefore {
		u.use.PeakMemory = max(u.use.PeakMemory, r.highest)
	}
	u.last = r
	return used
}

// fill puts what was measured into the result.
func (m *meter) fill(res *Result) {
	var disk uint64
	known := len(m.uses) > 0
	for _, name := range slices.Sorted(maps.Keys(m.uses)) {
		u := m.uses[name].use
		if res.Operations > 0 {
			u.PerMillion = u.CPUSeconds / float64(res.Operations) * 1e6
		}
		if u.DiskWritten != nil {
			disk += *u.DiskWritten
		} else {
			known = false
		}
		res.Processes = append(res.Processes, u)
	}
	res.ProcessSeconds = m.seconds
	if known && res.UserBytes > 0 {
		res.DiskPerUserByte = float64(disk) / float64(res.UserBytes)
	}
}
