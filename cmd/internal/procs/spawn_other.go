//go:build unix && !linux

package procs

import (
	"os/exec"
	"syscall"
)

// spawn starts cmd in a process group of its own, so that Ctrl-C in a terminal reaches the parent alone, which then stops
// its children in order. If this process is killed, its children live on.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
