package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
)

func kring(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestEveryCommandTeaches(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, c.Short)
			require.Equal(t, strings.ToUpper(c.Short[:1]), c.Short[:1])
			code, out, _ := kring(append(strings.Fields(c.CommandPath())[1:], "--help")...)
			require.Equal(t, exit.OK, code)
			require.Contains(t, out, "Usage:")
			for line := range strings.Lines(out) {
				require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), helpWidth, line)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		args, message string
	}{
		{"gte", `unknown command "gte", did you mean get?`},
		{"dev kil", `unknown command "kil" for kring dev, did you mean kill?`},
		{"get", "takes KEY, got none: kring get KEY [flags]"},
		{"get --key-base64 a*b", "not base64"},
		{"get " + strings.Repeat("k", 4097), "at most 4096"},
		{"del k --if-version 0", "nothing to remove"},
		{"get k --timeout -1s", "must be above 0"},
		{"put k v --ttl 0s", "give 1ms or more"},
		{"put k v --ttl soon", "invalid"},
		{"put k v --ttl 5", "write a duration such as 250ms"},
		{"put k v --if-version x", "write a number"},
		{"put k -3", "goes behind --, as in kring put -- "},
		{"put k v --idempotency-key=", "is empty"},
		{"del k --idempotency-key " + strings.Repeat("k", 256), "at most 255"},
		{"bench run --workload e", "workload e is short scans, which Kring does not have"},
		{"bench run --workload z", "unknown workload"},
		{"bench run --distribution normal", "unknown distribution"},
		{"bench run --value-size uniform:9-1", "LEAST-MOST"},
		{"bench run --load --workload incr", "no numbers"},
		{"bench run --sweep --closed 4", "a sweep is of open loops"},
		{"bench run --sweep --sweep-growth 0.5", "must be above 1"},
		{"bench run --process n1", "write NAME=PID"},
		{"bench run --process none --process n1=1", "none alone"},
		{"bench run --json /nowhere/x", "the file for --json"},
		{"bench run --csv /nowhere/x", "the file for --csv"},
		{"bench run --html /nowhere/x", "the file for --html"},
		{"bench report /nowhere/x", "no such file"},
		{"bench report main_test.go", "no result of kring bench"},
		{"bench scenario", "name a scenario, failover, grow"},
		{"bench scenario nonsense", "no ready scenario"},
		{"bench standard --rounds 0", "1 round or more"},
		{"bench standard --value-size 3", "values of 16 bytes or more"},
		{"bench standard --duration 0s", "duration must be above 0"},
		{"bench standard --markdown main_test.go", "each of the lines once"},
		{"bench standard --json /nowhere/x", "the file for --json"},
		{"bench standard --dir /nowhere", "no such file"},
		{"bench cost --axes colour", "write some of nodes,value-size,keys"},
		{"bench cost --rate 0", "rate must be above 0"},
		{"bench run --repeat 0", "write 1 or more"},
		{"bench run --repeat 2 --html x", "only --json"},
		{"bench diff /nowhere/a /nowhere/b", "no such file"},
		{"bench diff main_test.go main_test.go", "no result of kring bench run"},
		{"bench load --value-size -1", "must be a number of bytes"},
		{"bench load --keys 0", "must be 1 or more"},
		{"incr k five", "not a whole number"},
		{"incr k -3 -4", "takes KEY and DELTA, got 3: kring incr KEY [DELTA]"},
		{"get k --addr ftp://x", "write http://HOST:PORT"},
		{"wait --healthy --for 2m", "is not below --timeout"},
		{"wait --for -1s", "must not be negative"},
		{"status -o xml", "use table or json"},
		{"node --id n1", "no --data"},
		{"coordinator --log-level loud --data " + os.DevNull, ""},
		{"coordinator add", "takes the ID of a coordinator, got none"},
		{"coordinator restore backup --id c1", "no --data"},
		{"coordinator rebuild --id c1 --data x", "no --nodes"},
		{"coordinator replace c1", "takes the IDs of the old and the new coordinator"},
		{"coordinators --coordinator nowhere", "write IP:PORT"},
		{"completion tcsh", `shell "tcsh"`},
		{"dev --coordinators 2", "use 1, 3 or 5"},
		{"dev --http 0.0.0.0:8080", "reachable from other machines"},
		{"dev --http localhost:8080", "write an IP in place of"},
	} {
		t.Run(test.args[:min(len(test.args), 40)], func(t *testing.T) {
			code, out, errs := kring(strings.Fields(test.args)...)
			if test.message != "" {
				require.Equal(t, exit.Usage, code, errs)
			}
			require.NotEqual(t, exit.OK, code)
			require.Contains(t, errs, test.message)
			require.Empty(t, out)
		})
	}
}

func TestSettingsFromFileAndEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kring.yaml")
	require.NoError(t, os.WriteFile(path, []byte("version:\n  output: json\n"), 0o600))
	code, out, errs := kring("version", "--config", path)
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, out, `"version"`)
	t.Setenv("KRING_OUTPUT", "table")
	_, out, _ = kring("version", "--config", path)
	require.Contains(t, out, "kring ")
	code, _, _ = kring("version", "--config", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exit.Usage, code)
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, errs := kring("completion", shell)
		require.Equal(t, exit.OK, code, errs)
		require.NotEmpty(t, out)
	}
}
