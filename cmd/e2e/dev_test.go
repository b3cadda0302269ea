package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/internal/freeport"
)

// devRun is a `kring dev` that somebody started at a terminal.
type devRun struct {
	cmd   *exec.Cmd
	env   []string
	ready chan struct{} // closed once it says so
	ended chan struct{}
	text  bytes.Buffer // what it printed; complete once ended is closed
	addr  string
}

// startDev runs kring dev with a free port and waits until it is ready.
func startDev(t *testing.T, args ...string) *devRun {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	ports, err := freeport.Find(1)
	require.NoError(t, err)
	runtime := filepath.Join(scratch, "run") // a path short enough for a socket
	require.NoError(t, os.MkdirAll(runtime, 0o700))
	http := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	d := &devRun{
		addr: "http://" + http, ready: make(chan struct{}), ended: make(chan struct{}),
		env: append(os.Environ(), "XDG_RUNTIME_DIR="+runtime, "KRING_ADDR=http://"+http),
	}
	d.cmd = exec.Command(kring, append([]string{"dev", "--http", http}, args...)...)
	d.cmd.Env = d.env
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	d.cmd.Stderr = d.cmd.Stdout
	require.NoError(t, d.cmd.Start())
	t.Cleanup(func() {
		if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-d.ended
		if t.Failed() {
			t.Logf("kring dev printed:\n%s", d.text.String())
		}
	})
	go d.read(out)
	select {
	case <-d.ready:
	case <-d.ended:
		t.Fatalf("kring dev ended:\n%s", d.text.String())
	case <-time.After(healthyWithin):
		t.Fatal("kring dev is not ready")
	}
	return d
}

func (d *devRun) read(out io.Reader) {
	defer close(d.ended)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		d.text.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			close(d.ready)
		}
	}
	_ = d.cmd.Wait() // its exit code is read from ProcessState
}

// stopWithin bounds a clean stop: reached only by one that hangs, however loaded the machine is.
const stopWithin = 60 * time.Second

// stop sends SIGINT, as Ctrl-C does, and requires a clean end.
func (d *devRun) stop(t *testing.T) string {
	t.Helper()
	began := time.Now()
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-d.ended:
	case <-time.After(stopWithin):
		t.Fatal("kring dev does not stop")
	}
	require.Equal(t, exit.OK, d.cmd.ProcessState.ExitCode(), "%s", d.text.String())
	t.Logf("stopped in %s", time.Since(began))
	return d.text.String()
}

// kring runs a command against the cluster.
func (d *devRun) kring(t *testing.T, stdin []byte, args ...string) (stdout string, code int) {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), kring, args...)
	cmd.Env, cmd.Stdin = d.env, bytes.NewReader(stdin)
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code != exit.OK {
		t.Logf("kring %s: exit code %d: %s", strings.Join(args, " "), code, errText.String())
	}
	return string(out), code
}

func (d *devRun) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, code := d.kring(t, nil, args...)
	require.Equal(t, exit.OK, code, "kring %v", args)
	return out
}

func TestDevCommands(t *testing.T) {
	skipIfShort(t)
	d := startDev(t)
	require.Contains(t, d.ok(t, "status"), "healthy")
	require.Equal(t, "created, version", d.ok(t, "put", "greeting", "hello")[:16])
	require.Equal(t, "hello", d.ok(t, "get", "greeting"))

	value := random(t, 100_000)
	_, code := d.kring(t, value, "put", "--key-base64", "AP8=", "-")
	require.Equal(t, exit.OK, code)
	require.Equal(t, string(value), d.ok(t, "get", "--key-base64", "AP8"))

	var document struct {
		Key       string `json:"key"`
		KeyBase64 string `json:"key_base64"`
		Value     string `json:"value"`
		Version   string `json:"version"`
	}
	require.NoError(t, json.Unmarshal([]byte(d.ok(t, "get", "greeting", "-o", "json")), &document))
	require.Equal(t, "hello", document.Value)
	for _, test := range []struct {
		code int
		args []string
	}{
		{exit.NotFound, []string{"get", "absent"}},
		{exit.PreconditionFailed, []string{"put", "greeting", "x", "--if-version", "0"}},
		{exit.PreconditionFailed, []string{"put", "greeting", "x", "--if-version", "99999"}},
		{exit.OK, []string{"put", "greeting", "again", "--if-version", document.Version}},
		{exit.PreconditionFailed, []string{"del", "greeting", "--if-version", document.Version}},
		{exit.OK, []string{"del", "greeting"}},
		{exit.NotFound, []string{"get", "greeting"}},
		{exit.Usage, []string{"get"}},
		{exit.Usage, []string{"put", ""}},
		{exit.Usage, []string{"put", "a", "b", "--no-such-flag"}},
		{exit.Usage, []string{"no-such-command"}},
		{exit.Usage, []string{"get", "x", "-o", "xml"}},
		{exit.Usage, []string{"gateway", "--http", "0.0.0.0:0"}},
		{exit.Failed, []string{"get", "x", "--addr", "http://127.0.0.1:1"}},
		{exit.OK, []string{"wait", "--healthy", "--addr", "http://127.0.0.1:1," + d.addr}},
		{exit.Failed, []string{"wait", "--healthy", "--timeout", "200ms", "--addr", "http://127.0.0.1:1"}},
		{exit.Usage, []string{"wait", "--healthy", "--timeout", "0s"}},
		{exit.Usage, []string{"wait", "--healthy", "now"}},
		{exit.OK, []string{"members"}},
		{exit.OK, []string{"ring", "--node", "n1"}},
		{exit.OK, []string{"locate", "greeting"}},
	} {
		_, code := d.kring(t, nil, test.args...)
		require.Equal(t, test.code, code, "kring %v", test.args)
	}
	oneMoreNode(t, d)
	text := d.stop(t)
	_, dir, found := strings.Cut(text, "Data in ")
	require.True(t, found)
	dir, _, _ = strings.Cut(dir, ",")
	require.NoDirExists(t, dir, "the temporary directory is removed")
}

// oneMoreNode starts the node that kring dev printed a command for, with a gateway in its process.
func oneMoreNode(t *testing.T, d *devRun) {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	_, command, found := strings.Cut(d.text.String(), "One more node for this very cluster.")
	require.True(t, found)
	_, command, _ = strings.Cut(command, "\n") // the rest of that line
	command, _, _ = strings.Cut(command, "\n\n")
	words := strings.Fields(strings.ReplaceAll(command, "\\\n", " "))
	ports, err := freeport.Find(1)
	require.NoError(t, err)
	http := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	cmd := exec.CommandContext(t.Context(), kring, append(words[1:], "--http", http)...)
	cmd.Env = d.env
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	for deadline := time.Now().Add(healthyWithin); ; {
		if out := d.ok(t, "members"); strings.Contains(out, "n4") {
			break
		}
		require.True(t, time.Now().Before(deadline), "n4 has not joined")
	}
	d.ok(t, "wait", "--addr", http)
	d.ok(t, "put", "through", "n4", "--addr", http)
	require.Equal(t, "n4", d.ok(t, "get", "through"))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "%s", output.String())
	for deadline := time.Now().Add(healthyWithin); strings.Contains(lineOf(t, d.ok(t, "members"), "n4"), " up "); {
		require.True(t, time.Now().Before(deadline), "n4 is not missed")
	}
	d.ok(t, "wait", "--healthy") // it held nothing
}

// lineOf is the line of output that begins with word.
func lineOf(t *testing.T, output, word string) string {
	t.Helper()
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, word+" ") {
			return line
		}
	}
	t.Fatalf("no line of %s in:\n%s", word, output)
	return ""
}

func TestDevProcesses(t *testing.T) {
	skipIfShort(t)
	data := filepath.Join(t.TempDir(), "cluster")
	// A setting of the one that starts them is not the members': every node would open a gateway there.
	t.Setenv("KRING_HTTP", "127.0.0.1:1")
	d := startDev(t, "--processes", "--data", data)
	d.ok(t, "put", "greeting", "hello")
	d.ok(t, "dev", "kill", "n2", "--data", data)
	_, code := d.kring(t, nil, "dev", "kill", "n2", "--data", data)
	require.Equal(t, exit.Failed, code, "it is dead already")
	_, code = d.kring(t, nil, "dev", "kill", "n9", "--data", data)
	require.Equal(t, exit.Failed, code)
	for deadline := time.Now().Add(healthyWithin); strings.Contains(d.ok(t, "status"), "healthy"); {
		require.True(t, time.Now().Before(deadline), "nobody notices that n2 is dead")
	}
	_, code = d.kring(t, nil, "wait", "--healthy", "--timeout", "200ms")
	require.Equal(t, exit.Failed, code, "a node is away")
	d.ok(t, "dev", "start", "n2", "--data", data)
	d.ok(t, "wait", "--healthy")
	require.Equal(t, "hello", d.ok(t, "get", "greeting"))

	d.ok(t, "dev", "kill", "c1", "--data", data)
	_, code = d.kring(t, nil, "wait", "--healthy", "--timeout", "200ms")
	require.Equal(t, exit.Failed, code, "nobody knows")
	require.Equal(t, "hello", d.ok(t, "get", "greeting"), "reads go on")
	d.ok(t, "dev", "start", "c1", "--data", data)
	d.ok(t, "wait", "--healthy")
	d.stop(t)

	// The same directory is the same cluster, however it is run and wherever it was moved.
	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(data, moved))
	data = moved
	d = startDev(t, "--data", data)
	require.Equal(t, "hello", d.ok(t, "get", "greeting"))
	d.stop(t)
	again := exec.CommandContext(t.Context(), d.cmd.Path, "dev", "--data", data, "--nodes", "5")
	again.Env = d.env
	require.Error(t, again.Run())
	require.Equal(t, exit.Usage, again.ProcessState.ExitCode(), "it holds three nodes")
}
