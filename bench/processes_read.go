package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// readProcess reads what a process has used.
func readProcess(ctx context.Context, ref ProcessRef) (processReading, error) {
	if ref.Pid > 0 {
		return readProc("/proc/" + strconv.Itoa(ref.Pid))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ref.Metrics, http.NoBody)
	if err != nil {
		return processReading{}, fmt.Errorf("metrics: %w", err)
	}
	request.Close = true // one request a second needs no connection kept
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return processReading{}, fmt.Errorf("metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return processReading{}, fmt.Errorf("metrics of %s: %s", ref.Metrics, response.Status)
	}
	return readMetrics(io.LimitReader(response.Body, metricsBytes))
}

const metricsBytes = 16 << 20

// readMetrics takes what Prometheus' client libraries tell of their process. It does not include the disk.
func readMetrics(r io.Reader) (processReading, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "process_") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = v
		}
	}
	if err := lines.Err(); err != nil {
		return processReading{}, fmt.Errorf("metrics: %w", err)
	}
	cpu, ok := values["process_cpu_seconds_total"]
	if !ok {
		return processReading{}, errors.New("metrics: there is no process_cpu_seconds_total")
	}
	return processReading{
		life: strconv.FormatFloat(values["process_start_time_seconds"], 'f', -1, 64), cpu: cpu,
		memory: uint64(values["process_resident_memory_bytes"]),
	}, nil
}

// ticksPerSecond is the unit of times in /proc/PID/stat: USER_HZ, which is 100 wherever Go runs on Linux.
const ticksPerSecond = 100

// readProc reads the directory of a process in /proc.
func readProc(dir string) (processReading, error) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return processReading{}, fmt.Errorf("process: %w", err)
	}
	// The second field is the name in brackets, which may hold anything; the third is the state.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const state, userTime, systemTime, startTime = 0, 11, 12, 19
	if len(fields) <= startTime {
		return processReading{}, fmt.Errorf("process: %s/stat has %d fields", dir, len(fields))
	}
	if fields[state] == "Z" {
		return processReading{}, fmt.Errorf("process: %s has ended", dir)
	}
	user, err := strconv.ParseUint(fields[userTime], 10, 64)
	system, errSystem := strconv.ParseUint(fields[systemTime], 10, 64)
	if err := errors.Join(err, errSystem); err != nil {
		return processReading{}, fmt.Errorf("process: %s/stat: %w", dir, err)
	}
	r := processReading{life: dir + " " + fields[startTime], cpu: float64(user+system) / ticksPerSecond}
	kib := func(name string) uint64 {
		n, err := strconv.ParseUint(strings.TrimSuffix(firstField(dir+"/status", name), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	r.memory, r.highest = kib("VmRSS"), kib("VmHWM")
	// Other users' are not told.
	if n, err := strconv.ParseUint(firstField(dir+"/io", "write_bytes"), 10, 64); err == nil {
		r.written = &n
	}
	return r, nil
}
