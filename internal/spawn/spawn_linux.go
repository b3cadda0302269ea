// Package spawn starts processes that do not outlive this one.
package spawn

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// The kernel signals a child when the *thread* that made it ends. All are therefore made by one thread that never does.
var spawner = sync.OnceValue(func() chan<- request {
	requests := make(chan request)
	go func() {
		runtime.LockOSThread()
		for r := range requests {
			r.answer <- r.cmd.Start()
		}
	}()
	return requests
})

type request struct {
	cmd    *exec.Cmd
	answer chan error
}

// Start starts cmd in a process group of its own, so that Ctrl-C in a terminal reaches the parent alone, which then stops
// its children in order. The kernel kills it if this process dies.
func Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	answer := make(chan error, 1)
	spawner() <- request{cmd, answer}
	return <-answer
}
