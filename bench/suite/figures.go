package suite

import (
	"fmt"

	"github.com/kringdb/kring/bench"
)

// Figures are what one step showed. Times are microseconds.
type Figures struct {
	Throughput float64 `json:"operations_per_second"`
	P50        float64 `json:"p50_us"` // of an open loop from the intended start
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Failed     uint64  `json:"failed"`
	// Unserved slots of an open loop were skipped or not sent: the rate was not held, and the percentiles are a lower bound.
	Unserved uint64 `json:"unserved"`
	// CPU is CPU seconds for a million operations by role, the generator's too; Memory the sum of the highest resident bytes of a
	// role's processes. A role that was not measured is absent.
	CPU    map[string]float64 `json:"cpu_seconds_per_million"`
	Memory map[string]uint64  `json:"peak_memory_bytes"`
	// Disk is the bytes that all processes gave to the disk for each byte of keys and values written; 0: none was, or not known.
	Disk float64 `json:"disk_bytes_per_user_byte,omitempty"`
	// Bottleneck: the figures say more of the generator than of the cluster. Notes say why.
	Bottleneck bool     `json:"generator_was_bottleneck,omitempty"`
	Notes      []string `json:"notes,omitempty"`
}

func newFigures(c *Cluster, r *bench.Result) Figures {
	f := Figures{
		Throughput: r.Throughput, P50: r.Latency.P50, P99: r.Latency.P99, P999: r.Latency.P999, Failed: r.Failed,
		Unserved: r.Generator.Skipped + r.Generator.Unsent, Disk: r.DiskPerUserByte, Notes: r.Generator.Notes, Bottleneck: r.Generator.Bottleneck,
		CPU: map[string]float64{}, Memory: map[string]uint64{},
	}
	for _, p := range r.Processes {
		role := c.Roles[p.Name]
		f.CPU[role] += p.PerMillion
		f.Memory[role] += p.PeakMemory
	}
	if r.Operations > 0 {
		f.CPU[Generator] = r.Generator.CPUSeconds / float64(r.Operations) * 1e6
	}
	return f
}

// servers is the CPU seconds of all processes but the generator.
func (f *Figures) servers() float64 { return f.CPU[Node] + f.CPU[Coordinator] + f.CPU[Gateway] }

func (f *Figures) String() string {
	text := fmt.Sprintf("%8.0f/s  p50 %6.2f ms  p99 %7.2f ms  servers %5.0f CPU s/M", f.Throughput, f.P50/1e3, f.P99/1e3, f.servers())
	if f.Failed > 0 {
		text += fmt.Sprintf("  %d FAILED", f.Failed)
	}
	if f.Unserved > 0 {
		text += fmt.Sprintf("  %d not served in time", f.Unserved)
	}
	if f.Bottleneck {
		text += "  GENERATOR WAS THE BOTTLENECK"
	}
	return text
}
