package procs

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// The kernel signals a child when the *thread* that made it ends. All are therefore made by one thread that never does.
var spawner = sync.OnceValue(func() chan<- spawnRequest {
	requests := make(chan spawnRequest)
	go func() {
		runtime.LockOSThread()
		for r := range requests {
			r.answer <- r.cmd.Start()
		}
	}()
	return requests
})

type spawnRequest struct {
	cmd    *exec.Cmd
	answer chan error
}

// spawn starts cmd in a process group of its own, so that Ctrl-C in a terminal reaches the parent alone, which then stops
// its children in order. The kernel kills it if this process dies.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	answer := make(chan error, 1)
	spawner() <- spawnRequest{cmd, answer}
	return <-answer
}
