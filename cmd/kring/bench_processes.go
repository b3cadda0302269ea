package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/devctl"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// benchProcesses is the flag that says whose CPU, memory and disk a run measures.
type benchProcesses struct{ named []string }

const (
	processesOfDev = "dev"
	processesNone  = "none"
)

func (f *benchProcesses) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.named, "process", nil, "measure a process too: NAME=PID, NAME=http://HOST:PORT/metrics, "+
		"dev for those of the kring dev that runs, or none; repeatable (dev is meant where --addr is its gateway)")
}

// find gives what bench.Config.Processes wants; nil: nobody is measured.
func (f *benchProcesses) find(t *benchTarget) (func() map[string]bench.ProcessRef, error) {
	fixed := map[string]bench.ProcessRef{}
	dev := len(f.named) == 0 && t.kind == targetREST
	address := t.addresses
	for _, word := range f.named {
		name, where, ok := strings.Cut(word, "=")
		pid, err := strconv.Atoi(where)
		switch {
		case word == processesNone && len(f.named) == 1:
			return nil, nil
		case word == processesOfDev:
			dev, address = true, nil
		case ok && name != "" && strings.HasPrefix(where, "http://"):
			fixed[name] = bench.ProcessRef{Metrics: where}
		case ok && name != "" && err == nil && pid > 0:
			fixed[name] = bench.ProcessRef{Pid: pid}
		default:
			return nil, exit.Usagef("--process %q: write NAME=PID, NAME=http://HOST:PORT/metrics, dev, or none alone", word)
		}
	}
	if dev {
		state, ok, err := findDev(address)
		switch {
		case err != nil:
			return nil, err
		case !ok && address == nil:
			return nil, exit.Usagef("--process dev: not one kring dev of yours runs, but none or several")
		case ok:
			return func() map[string]bench.ProcessRef { return devProcesses(state, fixed) }, nil
		}
	}
	if len(fixed) == 0 {
		return nil, nil
	}
	return func() map[string]bench.ProcessRef { return fixed }, nil
}

// findDev is the kring dev one of whose gateways is among the addresses; nil: the only one that runs.
func findDev(addresses []string) (devctl.State, bool, error) {
	states, err := devctl.Running()
	if err != nil {
		return devctl.State{}, false, err
	}
	if addresses != nil {
		states = slices.DeleteFunc(states, func(s devctl.State) bool {
			return !slices.ContainsFunc(addresses, func(a string) bool { return strings.TrimSuffix(a, "/") == s.Address })
		})
	}
	if len(states) != 1 {
		return devctl.State{}, false, nil
	}
	return states[0], true, nil
}

// devProcesses are the members' processes of the moment, since they are killed and started.
func devProcesses(s devctl.State, fixed map[string]bench.ProcessRef) map[string]bench.ProcessRef {
	refs := maps.Clone(fixed)
	if !s.Processes {
		refs[processesOfDev] = bench.ProcessRef{Pid: s.Pid} // all members in one
		return refs
	}
	now, err := devctl.Find(s.Data)
	if err != nil {
		return refs // it has ended
	}
	for id, pid := range now.Members {
		if pid > 0 {
			refs[id] = bench.ProcessRef{Pid: pid}
		}
	}
	return refs
}
