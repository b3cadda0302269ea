// Package procs runs members of a cluster as real processes, to be killed, paused and started again: for `kring dev
// --processes` and for the end-to-end tests.
package procs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kringdb/kring/cmd/internal/config"
	"github.com/kringdb/kring/cmd/internal/probe"
	"github.com/kringdb/kring/internal/spawn"
)

// Command is what to run.
type Command struct {
	Name   string // for messages
	Binary string
	Args   []string
	Env    []string // added to this process's own, of which Kring's settings are left out
	Log    string   // file that gets the output, appended
}

// Process is one run of a Command.
type Process struct {
	command Command
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // of Wait; valid once done is closed

	mu     sync.Mutex
	wanted bool // its end was asked for
}

// Start runs the command. The process dies with this one, where the system can see to that.
func Start(c Command) (*Process, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// The process has its own handle; nothing was written through this one.
	defer func() { _ = log.Close() }()
	cmd := exec.Command(c.Binary, c.Args...)
	cmd.Env = append(withoutSettings(os.Environ()), c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := spawn.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &Process{command: c, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// withoutSettings leaves out what would be a setting of a kring command: the variables that somebody set for the parent
// (such as KRING_HTTP or KRING_CONFIG) would be taken for the member's own.
func withoutSettings(environment []string) []string {
	return slices.DeleteFunc(environment, func(variable string) bool {
		return strings.HasPrefix(variable, config.EnvironmentPrefix)
	})
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet. A paused one is running.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Err says how the process ended, with the last lines of its output; nil while it runs, or if its end was asked for
// through this Process.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Running() || p.wanted {
		return nil
	}
	return p.ended()
}

// Signal sends s. A process that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	if s == syscall.SIGKILL || s == syscall.SIGTERM || s == syscall.SIGINT {
		p.mu.Lock()
		p.wanted = true
		p.mu.Unlock()
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.command.Name, err)
	}
	return nil
}

// Kill sends SIGKILL and returns when the process is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Stop asks for a clean end, and kills what has not ended within grace; that is an error, and so is a failure's exit code.
func (p *Process) Stop(grace time.Duration) error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not stop within %s", p.command.Name, grace), p.Kill())
	}
	if p.err != nil && !p.diedOf(syscall.SIGTERM) {
		return fmt.Errorf("%s: %w%s", p.command.Name, p.err, p.tail())
	}
	return nil
}

// diedOf reports whether the signal ended the process before it had begun to listen for it.
func (p *Process) diedOf(s syscall.Signal) bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == s
}

// ended says how the process ended, with the last lines of its output.
func (p *Process) ended() error {
	return fmt.Errorf("%s ended: %v%s", p.command.Name, p.cmd.ProcessState, p.tail())
}

const tailBytes = 2 << 10

// tail is the end of the output, for messages.
func (p *Process) tail() string {
	f, err := os.Open(p.command.Log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil || len(text) == 0 {
		return ""
	}
	return "; its last output (" + p.command.Log + "):\n" + string(text)
}

// WaitReady returns once url answers 200, or an error when the process ends or ctx does.
func (p *Process) WaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := probe.Wait(ctx, url)
	if err != nil && !p.Running() {
		return p.ended()
	}
	if err != nil {
		return fmt.Errorf("%s is not ready: %w%s", p.command.Name, err, p.tail())
	}
	return nil
}
