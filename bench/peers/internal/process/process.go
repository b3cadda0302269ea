// Package process runs a peer's servers.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/internal/freeport"
	"github.com/kringdb/kring/internal/spawn"
)

// Group is servers that live and die together.
type Group struct {
	Dir     string // for their output
	servers []*server
}

type server struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

// Start runs a server. It dies with this process, where the system can see to that.
func (g *Group) Start(name, binary string, env []string, args ...string) error {
	path := filepath.Join(g.Dir, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = g.Dir, append(os.Environ(), env...), log, log
	if err := errors.Join(spawn.Start(cmd), log.Close()); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s := &server{name: name, log: path, cmd: cmd, done: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	g.servers = append(g.servers, s)
	return nil
}

// Processes are the servers, for their CPU and memory.
func (g *Group) Processes() map[string]bench.ProcessRef {
	refs := make(map[string]bench.ProcessRef, len(g.servers))
	for _, s := range g.servers {
		refs[s.name] = bench.ProcessRef{Pid: s.cmd.Process.Pid}
	}
	return refs
}

// failed is an error if a server has ended.
func (g *Group) failed() error {
	for _, s := range g.servers {
		select {
		case <-s.done:
			return fmt.Errorf("%s ended: %v%s", s.name, s.cmd.ProcessState, tail(s.log))
		default:
		}
	}
	return nil
}

const tailBytes = 2 << 10

// tail is the end of a server's output, for messages.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "; its last output (" + path + "):\n" + string(text[max(0, len(text)-tailBytes):])
}

const (
	readyWithin = 2 * time.Minute
	readyPause  = 50 * time.Millisecond
	readyCall   = 5 * time.Second // bounds one look
	stopGrace   = 20 * time.Second
)

// Until returns once ready gives no error, or with an error when a server ends, ctx does, or two minutes have passed.
func (g *Group) Until(ctx context.Context, what string, ready func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ticker := time.NewTicker(readyPause)
	defer ticker.Stop()
	for {
		one, end := context.WithTimeout(ctx, readyCall)
		err := ready(one)
		end()
		if err == nil {
			return nil
		}
		if failed := g.failed(); failed != nil {
			return failed
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last seen: %w)", what, ctx.Err(), err)
		}
	}
}

// Close asks all servers to end, and kills those that have not within the grace.
func (g *Group) Close() error {
	failures := []error{g.failed()}
	for _, s := range g.servers {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			failures = append(failures, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	expired := false
	for _, s := range g.servers {
		if !expired {
			select {
			case <-s.done:
				continue
			case <-timer.C:
				expired = true
			}
		}
		select {
		case <-s.done:
		default:
			failures = append(failures, fmt.Errorf("%s did not stop within %s%s", s.name, stopGrace, tail(s.log)), s.cmd.Process.Kill())
			<-s.done
		}
	}
	return errors.Join(failures...)
}

// Addresses are n free ones on loopback.
func Addresses(n int) ([]string, error) {
	ports, err := freeport.Find(n)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, n)
	for i, p := range ports {
		addresses[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
	}
	return addresses, nil
}
