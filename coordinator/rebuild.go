package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/ring"
)

// RebuildConfig says how coordinators are made anew from what the nodes know, where all were lost and there is no backup.
type RebuildConfig struct {
	RestoreConfig
	Nodes         []string      // gRPC addresses; others are found through tables that these hold
	AcceptMissing []string      // nodes to go on without
	Settings      ring.Settings // of the cluster, for where no node knows them; ClusterID is not used
	DialOptions   []grpc.DialOption
}

// Rebuilt is what was found.
type Rebuilt struct {
	Settings     ring.Settings
	Nodes        []string // members, sorted
	Answered     []string // of those and others, sorted
	TableVersion uint64   // of the newest table that a node holds; 0: all nodes were restarted, and none holds one
	Restores     uint16   // how often these coordinators were restored before, by the epochs of partitions
	Unsure       []string // for people: what may be lost for want of the nodes that were accepted missing
}

// ErrMissingNodes says that nodes did not answer whose word counts.
var ErrMissingNodes = errors.New("coordinator: not all nodes answered")

// Rebuild asks the nodes, and makes the data directory of a first coordinator once confirm has seen what was found and returned nil.
// Nodes go on serving meanwhile. What was found is returned with an error too, where something was.
func Rebuild(ctx context.Context, cfg RebuildConfig, confirm func(*Rebuilt) error) (*Rebuilt, error) {
	if err := cfg.checkEmpty(); err != nil {
		return nil, err
	}
	e := &evidence{base: &ring.Table{}, without: map[ring.NodeID]bool{}}
	for _, id := range cfg.AcceptMissing {
		e.without[ring.NodeID(id)] = true
	}
	seeds := map[string]bool{}
	for _, address := range cfg.Nodes {
		seeds[address] = true
	}
	if err := e.gather(ctx, &asker{options: cfg.DialOptions}, seeds); err != nil {
		return nil, err
	}
	if len(e.records) == 0 {
		return nil, fmt.Errorf("%w: none of %s", ErrMissingNodes, strings.Join(cfg.Nodes, ", "))
	}
	e.fallback(cfg.Settings)
	found := e.find()
	out := found.rebuilt(e)
	if err := found.refuse(len(out.Answered)); err != nil {
		return out, err
	}
	if err := confirm(out); err != nil {
		return out, err
	}
	s := newState()
	s.table, s.overrides = found.table, found.overrides
	s.memberSince = sinceThen(s.table, s.table, nil, 0)
	s.partitionChanged, s.partitionShort = make([]int64, len(s.table.Partitions)), make([]int64, len(s.table.Partitions))
	return out, cfg.write(s, found.version, 1, cfg.AcceptMissing)
}

func (f *finding) rebuilt(e *evidence) *Rebuilt {
	out := &Rebuilt{Settings: f.table.Settings, TableVersion: f.table.Version, Restores: f.restores, Unsure: f.unsure}
	for i := range f.table.Members {
		out.Nodes = append(out.Nodes, string(f.table.Members[i].Node))
	}
	for id := range e.records {
		out.Answered = append(out.Answered, string(id))
	}
	slices.Sort(out.Answered)
	return out
}

// fallback has settings given by hand count where no node knows better.
func (e *evidence) fallback(s ring.Settings) {
	for _, r := range e.records {
		if r.settings.Partitions == 0 && r.clusterID != "" && s.Partitions > 0 {
			r.settings = s
			r.settings.ClusterID = r.clusterID
		}
	}
}

func (f *finding) refuse(answered int) error {
	switch {
	case len(f.trouble) > 0:
		return fmt.Errorf("coordinator: what the nodes know does not fit together: %s", strings.Join(f.trouble, "; "))
	case len(f.missing) > 0:
		text := ""
		if len(f.unsure) > 0 {
			text = ": " + strings.Join(f.unsure, "; ")
		}
		return fmt.Errorf("%w: %d did, and %s did not%s; start them, or name those that are gone for good as accepted missing", ErrMissingNodes,
			answered, strings.Join(f.missing, ", "), text)
	case f.table.Settings.ClusterID == "":
		return errors.New("coordinator: none of the nodes belongs to a cluster, or none knows its settings: give the number of partitions, " +
			"replicas and min-insync that the cluster was begun with")
	case !f.table.Formed():
		return errors.New("coordinator: no node knows of any partition: the cluster had not formed; begin a new one")
	}
	return nil
}
