// Package devctl is how `kring dev kill` and its like reach the `kring dev` that runs: a file in a directory of the user's
// says which are running, and a socket beside it takes the orders.
package devctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// State describes a running `kring dev`.
type State struct {
	Pid       int            `json:"pid"`
	Data      string         `json:"data"`      // its directory
	Address   string         `json:"address"`   // of its first gateway: http://IP:PORT
	Processes bool           `json:"processes"` // every member is a process of its own
	Members   map[string]int `json:"members"`   // id → pid; 0 if not running, or in the process of Pid itself
	Socket    string         `json:"socket"`
}

const (
	filePrefix = "dev-"
	fileSuffix = ".json"
	ownerOnly  = 0o700
)

// Dir is the directory with the states of this user's clusters. It is made if it is missing; one that another user could
// write to is refused.
func Dir() (string, error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	name := "kring"
	if base == "" {
		base, name = os.TempDir(), "kring-"+strconv.Itoa(os.Getuid())
	}
	dir := filepath.Join(base, name)
	if err := os.Mkdir(dir, ownerOnly); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("directory for the state of kring dev: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != ownerOnly || !ok || int(owner.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s is not a directory of this user alone: remove it", dir)
	}
	return dir, nil
}

func stateFile(dir string, pid int) string {
	return filepath.Join(dir, filePrefix+strconv.Itoa(pid)+fileSuffix)
}

// save writes s; readers see the old state or the new one.
func (s *State) save(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := stateFile(dir, s.Pid)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Running lists the clusters of this user whose process lives; what dead ones left behind is removed.
func Running() ([]State, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var states []State
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filePrefix) || !strings.HasSuffix(e.Name(), fileSuffix) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // ended between the two looks
		}
		var s State
		if err := json.Unmarshal(text, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, e.Name()), err)
		}
		if s.Pid <= 0 || errors.Is(syscall.Kill(s.Pid, 0), syscall.ESRCH) {
			if err := errors.Join(removeIfThere(filepath.Join(dir, e.Name())), removeIfThere(s.Socket)); err != nil {
				return nil, err
			}
			continue
		}
		states = append(states, s)
	}
	return states, nil
}

// Find is the running cluster, the one in the directory data if that is not empty.
func Find(data string) (State, error) {
	states, err := Running()
	if err != nil {
		return State{}, err
	}
	if data != "" {
		if data, err = filepath.Abs(data); err != nil {
			return State{}, err
		}
	}
	var found []State
	var all []string
	for _, s := range states {
		if data == "" || s.Data == data {
			found = append(found, s)
		}
		all = append(all, s.Data)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return State{}, fmt.Errorf("several clusters run: name one by --data, one of %s", strings.Join(all, ", "))
	case len(all) > 0:
		return State{}, fmt.Errorf("no cluster runs in %s; running: %s", data, strings.Join(all, ", "))
	}
	return State{}, errors.New("no cluster runs: start one with kring dev --processes")
}

func removeIfThere(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
