package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

type settings struct {
	id, level string
	join      []string
	every     time.Duration
	insecure  bool
}

// run executes "root node args…" with a configuration file and an environment, and gives back what node saw.
func run(t *testing.T, file string, environment map[string]string, args ...string) (settings, error) {
	t.Helper()
	lookup := func(name string) (string, bool) { v, ok := environment[name]; return v, ok }
	if file != "" {
		path := filepath.Join(t.TempDir(), "kring.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		args = append(args, "--config", path)
	}
	var s settings
	root := &cobra.Command{Use: "kring", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().String(FileFlag, "", "")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return Apply(cmd, lookup) }
	node := &cobra.Command{Use: "node", RunE: func(*cobra.Command, []string) error { return nil }}
	node.Flags().StringVar(&s.id, "id", "default", "")
	node.Flags().StringVar(&s.level, "log-level", "info", "")
	node.Flags().StringSliceVar(&s.join, "join", nil, "")
	node.Flags().DurationVar(&s.every, "every", time.Second, "")
	node.Flags().BoolVar(&s.insecure, "insecure", false, "")
	gateway := &cobra.Command{Use: "gateway", RunE: func(*cobra.Command, []string) error { return nil }}
	gateway.Flags().String("http", "", "")
	root.AddCommand(node, gateway)
	root.SetArgs(append([]string{"node"}, args...))
	err := root.Execute()
	return s, err
}

func TestPrecedence(t *testing.T) {
	file := "id: file\nlog-level: warn\njoin: [a:1, b:2]\nevery: 3s\ninsecure: true\n"
	environment := map[string]string{"KRING_ID": "environment", "KRING_LOG_LEVEL": "error"}
	s, err := run(t, file, environment, "--id", "flag")
	require.NoError(t, err)
	require.Equal(t, settings{
		id: "flag", level: "error", join: []string{"a:1", "b:2"}, every: 3 * time.Second, insecure: true,
	}, s)
}

func TestSectionOfACommandWins(t *testing.T) {
	s, err := run(t, "id: all\nevery: 2s\nnode:\n  id: mine\ngateway:\n  http: 127.0.0.1:1\nhttp: x\n", nil)
	require.NoError(t, err)
	require.Equal(t, "mine", s.id)
	require.Equal(t, 2*time.Second, s.every)
}

func TestDefaultsStay(t *testing.T) {
	s, err := run(t, "", map[string]string{"KRING_ID": "", "KRING_HELP": "true"})
	require.NoError(t, err)
	require.Equal(t, settings{id: "default", level: "info", every: time.Second}, s)
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct{ file, message string }{
		"unknown key":            {"idd: x\n", `"idd" is neither a flag nor a command`},
		"unknown in a section":   {"node:\n  http: x\n", "line 2: node has no flag --http"},
		"wrong type":             {"every: soon\n", "every"},
		"a map for a value":      {"id: {a: b}\n", "write a plain value"},
		"a list of lists":        {"join: [[a]]\n", "a list may hold plain values only"},
		"no YAML":                {"\tid: x\n", "kring.yaml"},
		"the file names a file":  {"config: other.yaml\n", `"config" is neither`},
		"not a map at the top":   {"- id\n", "kring.yaml"},
		"a section with no keys": {"nodes:\n  id: x\n", `"nodes" is neither`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := run(t, test.file, nil)
			require.ErrorContains(t, err, test.message)
		})
	}
	_, err := run(t, "", map[string]string{"KRING_EVERY": "soon"})
	require.ErrorContains(t, err, "KRING_EVERY")
	_, err = run(t, "", nil, "--config", filepath.Join(t.TempDir(), "absent.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
