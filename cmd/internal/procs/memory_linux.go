package procs

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// memoryBytes is the machine's memory, or the control group's where that is less; 0 if not known.
func memoryBytes() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	memory := uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // narrower on 32-bit systems
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return memory
	}
	if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
		return min(memory, limit)
	}
	return memory
}
