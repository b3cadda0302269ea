package bench

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is CPU time, of this process and of the machine. Where the system does not tell, machine fields are zero.
type usage struct {
	at                       time.Time
	elapsed                  time.Duration
	process                  time.Duration
	machineBusy, machineIdle time.Duration
}

func readUsage() usage {
	u := usage{at: time.Now()}
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) == nil {
		u.process = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	u.machineBusy, u.machineIdle = readMachineTime()
	return u
}

func (u usage) since(before usage) usage {
	return usage{
		elapsed: u.at.Sub(before.at), process: u.process - before.process,
		machineBusy: u.machineBusy - before.machineBusy, machineIdle: u.machineIdle - before.machineIdle,
	}
}

// readMachineTime sums the first line of /proc/stat. Its unit does not matter: only shares are used.
func readMachineTime() (busy, idle time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	const idleField, waitField, guestField = 4, 5, 9
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil || i >= guestField { // guest time is in user time already
			continue
		}
		if i == idleField || i == waitField {
			idle += time.Duration(n)
		} else {
			busy += time.Duration(n)
		}
	}
	return busy, idle
}

// Machine says where a result comes from.
type Machine struct {
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	Kernel      string `json:"kernel,omitempty"`
	CPU         string `json:"cpu,omitempty"`
	Cores       int    `json:"cores"`
	MaxProcs    int    `json:"gomaxprocs"`
	MemoryBytes uint64 `json:"memory_bytes,omitempty"`
}

func readMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0)}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.CPU = firstField("/proc/cpuinfo", "model name")
	if kib, err := strconv.ParseUint(strings.TrimSuffix(firstField("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.MemoryBytes = kib << 10
	}
	return m
}

// firstField gives the value of the first "name : value" line, "" if there is none.
func firstField(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Versions of what made a result.
type Versions struct {
	Go       string            `json:"go"`
	Revision string            `json:"revision,omitempty"` // of the generator's source
	Modified bool              `json:"modified,omitempty"`
	Modules  map[string]string `json:"modules,omitempty"` // those that carry requests
}

func readVersions() Versions {
	v := Versions{Go: runtime.Version(), Modules: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, d := range info.Deps {
		switch d.Path {
		case "google.golang.org/grpc", "github.com/valyala/fasthttp", "github.com/HdrHistogram/hdrhistogram-go":
			v.Modules[d.Path] = d.Version
		}
	}
	return v
}
