package node

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/ring"
)

const (
	budgetCallers = 64
	budgetKeys    = 100_000
	project       = "github.com/kringdb/kring/"
	transport     = "google.golang.org/grpc/internal/transport."
	pebblePackage = "github.com/cockroachdb/pebble/v2."
)

// A stage is where a sample belongs if one of these is the innermost function on its stack that belongs to any stage. What has none
// belongs to the stage of its innermost function among rests.
type stage struct {
	name      string
	functions []string // the beginnings of their names
}

var stages = []stage{
	{"client: route, queue, wait", []string{project + "ring/client.(*Client)."}},
	{"client: a frame made and sent", []string{project + "ring/client.(*batchStream).send"}},
	{"client: answers taken, callers woken", []string{project + "ring/client.(*batchStream).receive"}},
	{"node: requests taken", []string{project + "node.(*session).receive"}},
	{"node: values read", []string{project + "node.(*Node).prepare"}},
	{"node: the protocol", []string{project + "node/replica.(*Core)."}},
	{"node: the log written", []string{project + "node/store.(*log).run"}},
	{"node: the log synced", []string{project + "node/store.(*log).sync", project + "node/store/internal/aio."}},
	{"node: durable, what follows", []string{project + "node.(*engine).synced"}},
	{"node: frames to peers", []string{project + "node.(*link).run"}},
	{"node: frames from peers", []string{project + "node.(*Node).Exchange"}},
	{"node: applied", []string{project + "node.(*engine).applyLoop"}},
	{"node: answers sent", []string{project + "node.(*session).writeLoop", project + "node.(*session).flush"}},
	{"node: ticks, heartbeats", []string{project + "node.(*engine).tickLoop", project + "node.(*Node).heartbeats"}},
	{"gRPC: bytes from sockets", []string{transport + "(*http2Server).HandleStreams", transport + "(*http2Client).reader"}},
	{"gRPC: bytes to sockets", []string{transport + "(*loopyWriter).run"}},
	{"Pebble: flushes, compactions", []string{pebblePackage + "(*DB).compact", pebblePackage + "(*DB).flush", pebblePackage + "(*DB).runCompaction"}},
	{"Go: collector", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"}},
	{"Go: monitor", []string{"runtime.sysmon"}},
}

const theBenchmark = "the benchmark" // is not shown

var rests = []stage{
	{theBenchmark, []string{
		project + "node.inParallel", project + "node.times", project + "node.allocations", project + "node.budget", "golang.org/x/sync/errgroup",
	}},
	{"client: the rest", []string{project + "ring/client."}},
	{"node: the rest", []string{project + "node"}},
	{"gRPC: the rest", []string{"google.golang.org/grpc"}},
	{"Pebble: the rest", []string{"github.com/cockroachdb/pebble"}},
	{"Go: scheduler, network poller", []string{"runtime.mcall", "runtime.schedule", "runtime.findRunnable", "runtime.mstart", "runtime.park_m"}},
}

// inKernel are the innermost functions of samples that were taken in a system call.
var inKernel = []string{"internal/runtime/syscall", "syscall.", "runtime.futex", "runtime.usleep", "runtime.write1", "runtime.madvise"}

// BenchmarkBudget says what each stage of a PUT and of a GET costs: microseconds of CPU, those of it that are system calls, and
// allocations. Three nodes and the client are in one process, on real disks, with 64 callers and values of 128 bytes.
//
//	go test ./node -run '^$' -bench Budget -benchtime 100000x -v
func BenchmarkBudget(b *testing.B) {
	useThreads(b)
	c := newCluster(b, 3, ring.Settings{Partitions: 1024, Replicas: 3, MinInSync: 2})
	cl := c.client()
	value := make([]byte, 128)
	put := func(ctx context.Context, i int) error {
		_, err := cl.Put(ctx, benchKey(i%budgetKeys), value)
		return err
	}
	get := func(ctx context.Context, i int) error {
		_, err := cl.Get(ctx, benchKey(i%budgetKeys))
		return err
	}
	times(b, budgetKeys, put)
	b.Run("put", func(b *testing.B) { budget(b, put) })
	b.Run("get/first", func(b *testing.B) { budget(b, get) }) // from the disk's tables, where b.N is at most budgetKeys
	times(b, budgetKeys, get)
	b.Run("get/kept", func(b *testing.B) { budget(b, get) }) // from what nodes keep of the values they read
}

// budget measures b.N operations, and then a tenth of them again, each allocation of which is recorded.
func budget(b *testing.B, op func(ctx context.Context, i int) error) {
	var cpu bytes.Buffer
	require.NoError(b, pprof.StartCPUProfile(&cpu), "-cpuprofile is in the way")
	inParallel(b, budgetCallers, op)
	pprof.StopCPUProfile()
	b.StopTimer()
	if b.N < 1000 {
		return // the attempt with which testing begins
	}
	recorded := b.N / 10
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	before := allocations(b)
	times(b, recorded, op)
	after := allocations(b)
	runtime.MemProfileRate = rate
	spent, err := profile.Parse(&cpu)
	require.NoError(b, err)
	b.Log("\n" + budgetTable(costsOf(spent, 1, b.N), costsOf(after, 0, recorded).less(costsOf(before, 0, recorded))))
}

// times runs op so often, by as many callers.
func times(b *testing.B, n int, op func(ctx context.Context, i int) error) {
	var callers errgroup.Group
	callers.SetLimit(budgetCallers)
	for i := range n {
		callers.Go(func() error { return op(b.Context(), i) })
	}
	require.NoError(b, callers.Wait())
}

// allocations is what was allocated so far, by where. Two collections publish all of it.
func allocations(b *testing.B) *profile.Profile {
	b.Helper()
	runtime.GC()
	runtime.GC()
	var out bytes.Buffer
	require.NoError(b, pprof.Lookup("allocs").WriteTo(&out, 0))
	p, err := profile.Parse(&out)
	require.NoError(b, err)
	return p
}

// cost is what a stage takes of an operation: nanoseconds or allocations.
type cost struct{ all, kernel float64 }

type costs map[string]cost

// costsOf adds up one kind of value of a profile's samples, by stage, for each of so many operations.
func costsOf(p *profile.Profile, value, operations int) costs {
	c := costs{}
	for _, s := range p.Sample {
		name, kernel := stageOf(s)
		per := float64(s.Value[value]) / float64(operations)
		sum := c[name]
		sum.all += per
		if kernel {
			sum.kernel += per
		}
		c[name] = sum
	}
	return c
}

func (c costs) less(before costs) costs {
	for name, b := range before {
		c[name] = cost{all: c[name].all - b.all}
	}
	return c
}

const otherStage = "everything else"

// stageOf finds the stage of a sample, and whether it was taken in a system call.
func stageOf(s *profile.Sample) (name string, kernel bool) {
	var stack []string
	for _, l := range s.Location {
		for _, line := range l.Line {
			stack = append(stack, line.Function.Name)
		}
	}
	kernel = len(stack) > 0 && begins(stack[0], inKernel)
	for _, of := range [][]stage{stages, rests} {
		for _, function := range stack {
			if at := slices.IndexFunc(of, func(s stage) bool { return begins(function, s.functions) }); at >= 0 {
				return of[at].name, kernel
			}
		}
	}
	return otherStage, kernel
}

func begins(function string, with []string) bool {
	return slices.ContainsFunc(with, func(w string) bool { return strings.HasPrefix(function, w) })
}

// budgetTable is Markdown. Stages that cost nothing are left out.
func budgetTable(cpu, allocated costs) string {
	var out strings.Builder
	out.WriteString("| stage | CPU, µs | of it system calls | allocations |\n|---|---|---|---|\n")
	var all, system, objects float64
	for _, s := range slices.Concat(stages, rests, []stage{{name: otherStage}}) {
		if s.name == theBenchmark {
			continue
		}
		spent, made := cpu[s.name], allocated[s.name].all
		all, system, objects = all+spent.all, system+spent.kernel, objects+made
		if spent.all >= 50 || made >= 0.05 {
			fmt.Fprintf(&out, "| %s | %.1f | %.1f | %.1f |\n", s.name, spent.all/1e3, spent.kernel/1e3, made)
		}
	}
	fmt.Fprintf(&out, "| **all** | **%.1f** | **%.1f** | **%.1f** |\n", all/1e3, system/1e3, objects)
	return out.String()
}
