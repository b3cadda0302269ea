package procs

import (
	"fmt"
	"runtime"
)

// Shares of the machine for processes that run together on it.
const (
	memoryShare  = 2         // all processes together get 1/memoryShare of the memory as a soft limit
	leastMemory  = 256 << 20 // bytes, of one process
	bytesPerMiB  = 1 << 20
	leastThreads = 1
)

// Limits is the environment that keeps n Go processes on one machine out of each other's way: without it, each would use
// all cores for itself, which costs all of them a third of their speed.
func Limits(n int) []string {
	n = max(n, 1)
	environment := []string{fmt.Sprintf("GOMAXPROCS=%d", max(leastThreads, runtime.NumCPU()/n))}
	if memory := memoryBytes(); memory > 0 {
		limit := max(leastMemory, memory/memoryShare/uint64(n))
		environment = append(environment, fmt.Sprintf("GOMEMLIMIT=%dMiB", limit/bytesPerMiB))
	}
	return environment
}

// Threads is what GOMAXPROCS should be for a process with so many nodes in it. Each node's log spends most of its time in a
// sync, and a system call that blocks keeps its share of GOMAXPROCS until the runtime notices: with as many nodes as cores,
// everything else would stand still that long.
func Threads(nodes int) int { return runtime.NumCPU() + max(nodes-1, 0) }
