//go:build unix && !linux

// Package spawn starts processes that do not outlive this one, where the system can see to that.
package spawn

import (
	"os/exec"
	"syscall"
)

// Start starts cmd in a process group of its own, so that Ctrl-C in a terminal reaches the parent alone, which then stops
// its children in order. If this process is killed, its children live on.
func Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
