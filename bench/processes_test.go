package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func written(n uint64) *uint64 { return &n }

func TestMeterAddsUpLives(t *testing.T) {
	start := time.Now()
	now := map[string]processReading{}
	m := newMeter(func() map[string]ProcessRef {
		return map[string]ProcessRef{"n1": {Pid: 1}, "n2": {Pid: 2}, "n3": {Metrics: "n3"}}
	}, start)
	m.read = func(_ context.Context, ref ProcessRef) (processReading, error) {
		r, ok := now[fmt.Sprint(ref.Pid, ref.Metrics)]
		if !ok {
			return r, errors.New("away")
		}
		return r, nil
	}
	look := func(second int, readings map[string]processReading) {
		now = readings
		m.look(t.Context(), start.Add(time.Duration(second)*time.Second))
	}
	// n1 runs all the time, n2 is killed and comes back, n3 joins.
	look(0, map[string]processReading{
		"1": {life: "a", cpu: 100, memory: 50, highest: 900, written: written(1000)},
		"2": {life: "b", cpu: 200, memory: 60, highest: 60, written: written(1)},
	})
	look(1, map[string]processReading{
		"1": {life: "a", cpu: 101, memory: 70, highest: 900, written: written(1500)},
		"2": {life: "b", cpu: 200.5, memory: 60, highest: 80, written: written(11)},
	})
	look(2, map[string]processReading{"1": {life: "a", cpu: 101, memory: 65, highest: 900, written: written(1500)}})
	look(4, map[string]processReading{
		"1":   {life: "a", cpu: 102, memory: 65, highest: 900, written: written(1600)},
		"2":   {life: "c", cpu: 3, memory: 40, highest: 45, written: written(7)},
		"0n3": {life: "d", cpu: 0.25, memory: 20},
	})
	r := &Result{Operations: 500_000, UserBytes: 100}
	m.fill(r)
	assert.Equal(t, []ProcessUse{
		{Name: "n1", CPUSeconds: 2, PerMillion: 4, PeakMemory: 70, DiskWritten: written(600)},
		{Name: "n2", CPUSeconds: 3.5, PerMillion: 7, PeakMemory: 80, DiskWritten: written(17), Starts: 1},
		{Name: "n3", CPUSeconds: 0.25, PerMillion: 0.5, PeakMemory: 20, Starts: 1},
	}, r.Processes)
	assert.Zero(t, r.DiskPerUserByte, "n3's is not known")
	require.Len(t, r.ProcessSeconds, 3)
	assert.Equal(t, map[string]float64{"n1": 1, "n2": 0.5}, r.ProcessSeconds[0].CPU)
	assert.Equal(t, map[string]float64{"n1": 0}, r.ProcessSeconds[1].CPU)
	assert.Equal(t, map[string]float64{"n1": 0.5, "n2": 1.5, "n3": 0.125}, r.ProcessSeconds[2].CPU)

	delete(m.uses, "n3")
	r = &Result{Operations: 1, UserBytes: 100}
	m.fill(r)
	assert.InDelta(t, 6.17, r.DiskPerUserByte, 1e-9)
}

func TestReadProc(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	file("stat", "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 123 27 0 0 20 0 9 0 5555 1 2 3\n")
	file("status", "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
	file("io", "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n")
	r, err := readProc(dir)
	require.NoError(t, err)
	assert.Equal(t, processReading{life: dir + " 5555", cpu: 1.5, memory: 1 << 20, highest: 2 << 20, written: written(4096)}, r)
	require.NoError(t, os.Remove(filepath.Join(dir, "io")))
	r, err = readProc(dir)
	require.NoError(t, err)
	assert.Nil(t, r.written, "not known is not none")
	file("stat", "42 (a) Z 1 42 42 0 -1 4194560 1 0 0 0 123 27 0 0 20 0 9 0 5555\n")
	_, err = readProc(dir)
	assert.ErrorContains(t, err, "ended")
	file("stat", "42 (a) S")
	_, err = readProc(dir)
	assert.Error(t, err)
	_, err = readProc(dir + "/none")
	assert.Error(t, err)

	own, err := readProcess(t.Context(), ProcessRef{Pid: os.Getpid()})
	require.NoError(t, err)
	assert.Positive(t, own.memory)
}

func TestReadMetrics(t *testing.T) {
	status := http.StatusOK
	text := "# TYPE x counter\nx{process_=\"1\"} 9\nprocess_cpu_seconds_total 12.5\nprocess_resident_memory_bytes 3e+06\nprocess_start_time_seconds 1.5e9\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	r, err := readProcess(t.Context(), ProcessRef{Metrics: server.URL})
	require.NoError(t, err)
	assert.Equal(t, processReading{life: "1500000000", cpu: 12.5, memory: 3e6}, r)
	text = strings.ReplaceAll(text, "process_cpu", "cpu")
	_, err = readProcess(t.Context(), ProcessRef{Metrics: server.URL})
	assert.ErrorContains(t, err, "process_cpu_seconds_total")
	status = http.StatusNotFound
	_, err = readProcess(t.Context(), ProcessRef{Metrics: server.URL})
	assert.ErrorContains(t, err, "404")
}

func TestRunMeasuresProcesses(t *testing.T) {
	mix, err := NewMix(MixConfig{Workload: "put", Keys: Keys{Count: 10}, Sizes: FixedSize(84)})
	require.NoError(t, err)
	runner, err := NewRunner(Config{
		Target: NewMemory(), Workload: mix, Operations: 1000,
		Processes: func() map[string]ProcessRef { return map[string]ProcessRef{"self": {Pid: os.Getpid()}} },
	})
	require.NoError(t, err)
	r, err := runner.Run(t.Context())
	require.NoError(t, err)
	require.Len(t, r.Processes, 1)
	assert.Equal(t, "self", r.Processes[0].Name)
	assert.NotEmpty(t, r.ProcessSeconds)
	assert.EqualValues(t, 1000*(12+84), r.UserBytes, "keys and values")
}
