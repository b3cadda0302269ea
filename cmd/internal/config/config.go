// Package config lets flags, the environment and a file say the same things. A flag wins over the environment, the
// environment over the file, the file over the default.
//
// The environment has KRING_ and the flag's name in upper case with underscores: --min-insync is KRING_MIN_INSYNC. The file
// is YAML with the flags' names as keys. Keys at the top are for every command that has such a flag; under a command's name
// they are for it alone. An empty variable counts as not set.
//
//	log-format: json
//	node:
//	  id: n1
//	  data: /var/lib/kring
//	  join: [10.0.0.1:7102, 10.0.0.2:7102]
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// FileFlag names the flag that holds the file's path. It can be set by flag and environment only.
const FileFlag = "config"

// maxFileBytes bounds the file: larger is not a configuration.
const maxFileBytes = 1 << 20

// EnvironmentPrefix begins the name of every variable that is a setting.
const EnvironmentPrefix = "KRING_"

// Environment is the name of the variable for a flag.
func Environment(flag string) string {
	return EnvironmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Apply sets the flags of cmd that were not given on the command line, from lookup (os.LookupEnv) and the file.
func Apply(cmd *cobra.Command, lookup func(string) (string, bool)) error {
	given := make(map[string]bool)
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	set := func(f *pflag.Flag, value, source string) error {
		if given[f.Name] {
			return nil
		}
		given[f.Name] = true
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		return nil
	}
	var problems []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if value, ok := lookup(Environment(f.Name)); ok && value != "" && f.Name != "help" {
			problems = append(problems, set(f, value, Environment(f.Name)))
		}
	})
	if err := errors.Join(problems...); err != nil {
		return err
	}
	file := cmd.Flags().Lookup(FileFlag)
	if file == nil || file.Value.String() == "" {
		return nil
	}
	values, err := load(file.Value.String(), cmd)
	if err != nil {
		return err
	}
	for _, v := range values {
		f := cmd.Flags().Lookup(v.name)
		if err := set(f, v.value, file.Value.String()+": "+v.name); err != nil {
			return err
		}
	}
	return nil
}

type value struct{ name, value string }

// load reads what the file says for cmd; the command's own section comes first, so that it wins.
func load(path string, cmd *cobra.Command) ([]value, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("%s: over %d bytes, not a configuration", path, maxFileBytes)
	}
	var top map[string]yaml.Node
	if err := yaml.Unmarshal(text, &top); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	section, rest, err := split(top, cmd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var values []value
	for _, part := range []map[string]yaml.Node{section, rest} {
		for _, name := range sortedNames(part) {
			node := part[name]
			text, err := scalar(&node)
			if err != nil {
				return nil, fmt.Errorf("%s: line %d: %s: %w", path, node.Line, name, err)
			}
			values = append(values, value{name, text})
		}
	}
	return values, nil
}

// split parts the file into cmd's own section and the keys at the top that cmd has a flag for, and refuses keys that no
// command knows: a typing error must not become a default.
func split(top map[string]yaml.Node, cmd *cobra.Command) (section, rest map[string]yaml.Node, err error) {
	commands, flags := known(cmd.Root())
	rest = make(map[string]yaml.Node)
	for _, name := range sortedNames(top) {
		node := top[name]
		switch {
		case node.Kind == yaml.MappingNode && commands[name]:
			if name != commandName(cmd) {
				continue
			}
			if err := node.Decode(&section); err != nil {
				return nil, nil, err
			}
			for _, key := range sortedNames(section) {
				if !settable(cmd, key) {
					return nil, nil, fmt.Errorf("line %d: %s has no flag --%s", node.Line, name, key)
				}
			}
		case !flags[name]:
			return nil, nil, fmt.Errorf("line %d: %q is neither a flag nor a command", node.Line, name)
		case settable(cmd, name):
			rest[name] = node
		}
	}
	return section, rest, nil
}

func settable(cmd *cobra.Command, flag string) bool {
	return flag != FileFlag && flag != "help" && cmd.Flags().Lookup(flag) != nil
}

// commandName is the path below the root: "node", "bench run".
func commandName(cmd *cobra.Command) string {
	return strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()))
}

func known(root *cobra.Command) (commands, flags map[string]bool) {
	commands, flags = make(map[string]bool), make(map[string]bool)
	add := func(f *pflag.Flag) { flags[f.Name] = f.Name != FileFlag && f.Name != "help" }
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		commands[commandName(c)] = true
		c.Flags().VisitAll(add)
		c.PersistentFlags().VisitAll(add)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return commands, flags
}

func scalar(node *yaml.Node) (string, error) {
	switch node.Kind {
	case yaml.ScalarNode:
		return node.Value, nil
	case yaml.SequenceNode:
		parts := make([]string, 0, len(node.Content))
		for _, n := range node.Content {
			if n.Kind != yaml.ScalarNode {
				return "", errors.New("a list may hold plain values only")
			}
			parts = append(parts, n.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("write a plain value or a list of them")
}

func sortedNames(m map[string]yaml.Node) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
