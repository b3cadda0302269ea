package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/internal/spawn"
)

// Turn is a system under measurement.
type Turn interface {
	// Begin starts and loads the system.
	Begin(ctx context.Context, s Setup) (*Opened, error)
	Do(ctx context.Context, s Step) (*bench.Result, error)
	// Close stops the system.
	Close() error
}

// closeGrace bounds the end of a turn, of which servers' clean stops are the most.
const closeGrace = time.Minute

// process is a Turn that Serve carries out in a process of its own.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	decoder *json.Decoder
	encoder *json.Encoder
	errors  *tail
	done    chan struct{}
	err     error // of Wait; valid once done is closed
	closing sync.Once
}

// StartTurn starts binary, which is to call Serve on its standard input and output.
func StartTurn(binary string, args ...string) (Turn, error) {
	cmd := exec.Command(binary, args...)
	in, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	output, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), input.Close())
	}
	p := &process{
		cmd: cmd, in: input, decoder: json.NewDecoder(output), encoder: json.NewEncoder(input), errors: &tail{}, done: make(chan struct{}),
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, p.errors
	err = errors.Join(spawn.Start(cmd), in.Close(), out.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", binary, err), input.Close(), output.Close())
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ask sends a request and waits for its reply. When ctx ends the turn is told to end, and with it this call.
func (p *process) ask(ctx context.Context, request any) (reply, error) {
	stop := context.AfterFunc(ctx, p.end)
	defer stop()
	var r reply
	if err := p.encoder.Encode(request); err != nil {
		return r, p.broken(ctx, err)
	}
	if err := p.decoder.Decode(&r); err != nil {
		return r, p.broken(ctx, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// end closes the turn's standard input, at which it stops what it does.
func (p *process) end() { p.closing.Do(func() { _ = p.in.Close() }) } // nobody reads what could have failed to get there

func (p *process) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s ended: %w%s", p.cmd.Path, err, p.errors)
}

// Begin implements Turn.
func (p *process) Begin(ctx context.Context, s Setup) (*Opened, error) {
	r, err := p.ask(ctx, s)
	if err == nil && r.Opened == nil {
		err = errors.New("the turn did not say what it opened")
	}
	return r.Opened, err
}

// Do implements Turn.
func (p *process) Do(ctx context.Context, s Step) (*bench.Result, error) {
	r, err := p.ask(ctx, s)
	if err == nil && r.Result == nil {
		err = errors.New("the turn gave no result")
	}
	return r.Result, err
}

// Close implements Turn.
func (p *process) Close() error {
	p.end()
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within %s", p.cmd.Path, closeGrace), p.cmd.Process.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w%s", p.cmd.Path, p.err, p.errors)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := bytes.TrimSpace(t.text); len(text) > 0 {
		return ": " + string(text)
	}
	return ""
}
