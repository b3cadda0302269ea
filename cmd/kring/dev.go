package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/devctl"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/listen"
	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/cmd/internal/topology"
)

const devHelp = `Run a whole cluster on this machine until Ctrl-C: by default one coordinator, three nodes and one gateway in this process,
with real sockets, real gossip and real disks on loopback.

With --data the cluster is kept in that directory and comes back as it was; without, it lives in a temporary directory
that is removed at the end. With --processes every member is a process of its own, to be killed by kring dev kill NODE and
brought back by kring dev start NODE.`

const devExamples = `  kring dev
  kring dev --nodes 5 --coordinators 3 --gateways 2 --data ./cluster
  kring dev --processes              and, in another terminal: kring dev kill n2`

// readyWithin bounds how long a cluster may take to form before that is said; it goes on all the same.
const readyWithin = 30 * time.Second

// devFlags are those of kring dev.
type devFlags struct {
	nodes, coordinators, gateways int
	data, http                    string
	processes                     bool
	log                           logFlags
}

func newDev() *cobra.Command {
	var flags devFlags
	cmd := &cobra.Command{
		Use:     "dev",
		Short:   "Run a whole cluster on this machine",
		Long:    devHelp,
		Example: devExamples,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.Usagef("unknown command %q for kring dev%s", args[0], suggestions(cmd, args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd, &flags) },
	}
	f := cmd.Flags()
	f.IntVar(&flags.nodes, "nodes", 3, "storage nodes; with fewer than 3 there are as many copies as nodes")
	f.IntVar(&flags.coordinators, "coordinators", 1, "coordinators: 1, 3 or 5")
	f.IntVar(&flags.gateways, "gateways", 1, "gateways; the first is at --http")
	f.StringVar(&flags.data, "data", "", "directory to keep the cluster in; empty: a temporary one, removed at the end")
	f.StringVar(&flags.http, "http", gatewayHTTP, "IP:PORT of the first gateway, on loopback; port 0: a free one")
	f.BoolVar(&flags.processes, "processes", false, "a process for every member")
	flags.log.register(cmd, "error")
	cmd.AddCommand(newDevOrder(devctl.Kill, "Kill a member as a crash would", devKillHelp),
		newDevOrder(devctl.Start, "Start a member that was killed", devStartHelp))
	return cmd
}

func runDev(cmd *cobra.Command, flags *devFlags) (err error) {
	logger, err := flags.log.logger(cmd)
	if err != nil {
		return err
	}
	if err := listen.Check(flags.http, false); err != nil {
		return exit.With(exit.Usage, fmt.Errorf("--http: %w", err))
	}
	began := time.Now()
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	dir, temporary, err := devDir(flags.data)
	if err != nil {
		return err
	}
	if temporary {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	t, err := devTopology(cmd, flags, dir)
	if err != nil {
		return err
	}
	if err := settleHTTP(t); err != nil {
		return err
	}
	if err := t.Save(dir); err != nil {
		return err
	}
	d := &dev{
		cmd: cmd, flags: flags, dir: dir, temporary: temporary, began: began,
		cluster: cluster.New(t, devRunner(flags, dir, t, logger)),
	}
	return d.run(ctx, logger)
}

// settleHTTP sees to it that the first gateway's address, which is the one that people know, can be had before anything is
// started. Port 0 becomes a free one.
func settleHTTP(t *topology.Topology) error {
	gateway := t.First(topology.Gateway)
	l, err := listen.TCP(gateway.HTTP, false)
	if err != nil {
		return fmt.Errorf("gateway %s: %w; choose another address with --http, port 0 for a free one", gateway.ID, err)
	}
	gateway.HTTP = l.Addr().String()
	return l.Close()
}

// devDir is the absolute path of the cluster's directory.
func devDir(data string) (dir string, temporary bool, err error) {
	if data == "" {
		dir, err = os.MkdirTemp("", "kring-dev-")
		return dir, true, err
	}
	if dir, err = filepath.Abs(data); err != nil {
		return "", false, err
	}
	return dir, false, os.MkdirAll(dir, 0o750)
}

// devTopology is the cluster that is in dir, or else the one asked for. It writes nothing.
func devTopology(cmd *cobra.Command, flags *devFlags, dir string) (*topology.Topology, error) {
	t, err := topology.Load(dir)
	if err != nil {
		return nil, err
	}
	if t == nil {
		t, err = topology.New(topology.Request{
			Dir: dir, Coordinators: flags.coordinators, Nodes: flags.nodes, Gateways: flags.gateways, HTTP: flags.http,
		})
		if err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		return t, nil
	}
	for flag, role := range map[string]topology.Role{
		"coordinators": topology.Coordinator, "nodes": topology.Node, "gateways": topology.Gateway,
	} {
		have := len(t.Of(role))
		asked, err := cmd.Flags().GetInt(flag)
		if err != nil {
			return nil, err
		}
		if cmd.Flags().Changed(flag) && asked != have {
			return nil, exit.Usagef("%s holds a cluster with %d %ss: leave out --%s or name another directory", dir, have, role, flag)
		}
	}
	if cmd.Flags().Changed("http") {
		t.First(topology.Gateway).HTTP = flags.http
	}
	return t, nil
}

func devRunner(flags *devFlags, dir string, t *topology.Topology, logger *slog.Logger) cluster.Runner {
	if !flags.processes {
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.GOMAXPROCS(procs.Threads(len(t.Of(topology.Node))))
		}
		return cluster.InProcess{Logger: logger, Version: versionName()}
	}
	binary, err := os.Executable()
	if err != nil {
		binary = os.Args[0]
	}
	return procs.Runner{Binary: binary, LogDir: filepath.Join(dir, "logs"), Env: procs.Limits(len(t.Members))}
}

// dev is a running `kring dev`.
type dev struct {
	cmd       *cobra.Command
	flags     *devFlags
	dir       string
	temporary bool
	began     time.Time
	cluster   *cluster.Cluster
}

// run starts everything, serves until ctx ends, and stops everything.
func (d *dev) run(ctx context.Context, logger *slog.Logger) (err error) {
	d.announce()
	if err := d.cluster.StartAll(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cluster.Close()) }()
	endControl := d.takeOrders(logger)
	defer func() { err = errors.Join(err, endControl()) }()
	waiting, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	switch err := d.cluster.WaitHealthy(waiting); {
	case err == nil:
		d.ready()
	case ctx.Err() != nil:
		return nil
	case d.cluster.Failed() != nil:
		return err
	default:
		logger.Warn("the cluster is not ready yet", "missing", err)
	}
	return d.watch(ctx)
}

// takeOrders lets kring dev kill and its like reach this cluster, until the function it returns is called.
func (d *dev) takeOrders(logger *slog.Logger) (end func() error) {
	server, err := devctl.New(devctl.State{
		Pid: os.Getpid(), Data: d.dir, Address: d.address(), Processes: d.flags.processes,
	}, d)
	if err != nil {
		logger.Error("kring dev kill and kring dev start will not find this cluster", "error", err)
		return func() error { return nil }
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- server.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// watch reports members that end by themselves, until ctx ends. In one process a member's failure ends it all; members
// that are processes may be brought back.
func (d *dev) watch(ctx context.Context) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	told := make(map[cluster.Handle]bool)
	for {
		select {
		case <-ctx.Done():
			d.printf("\nStopping.\n")
			return nil
		case <-ticker.C:
		}
		for _, m := range d.cluster.Topology().Members {
			h := d.cluster.Handle(m.ID)
			if h == nil || told[h] || d.cluster.Running(m.ID) {
				continue
			}
			told[h] = true
			failure := h.Err()
			switch {
			case failure == nil:
				d.printf("%s is dead. Bring it back: %s dev start %s\n", m.ID, program(), m.ID)
			case d.flags.processes:
				d.printf("%s ended by itself: %v\nBring it back: %s dev start %s\n", m.ID, failure, program(), m.ID)
			default:
				return fmt.Errorf("%s ended: %w", m.ID, failure)
			}
		}
	}
}

// Kill, Start and Pids are what kring dev kill and start reach.

// Kill ends a member at once.
func (d *dev) Kill(id string) error { return d.cluster.Kill(id) }

// Start brings a member back.
func (d *dev) Start(id string) error {
	if err := d.cluster.Start(id); err != nil {
		return err
	}
	d.printf("%s is started.\n", id)
	return nil
}

// Pids is every member's pid.
func (d *dev) Pids() map[string]int {
	pids := make(map[string]int)
	for _, m := range d.cluster.Topology().Members {
		pids[m.ID] = 0
		if d.cluster.Running(m.ID) {
			pids[m.ID] = d.cluster.Handle(m.ID).Pid()
		}
	}
	return pids
}

const devKillHelp = `Kill a member of the kring dev that runs, as a crash would: with --processes its process gets SIGKILL.`

const devStartHelp = `Start a member that was killed, on the disk it had.`

func newDevOrder(order, short, help string) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:     order + " NODE",
		Short:   short,
		Long:    help,
		Example: "  kring dev " + order + " n2",
		Args:    arguments(1, 1, "the name of a member, such as n2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := devctl.Find(data)
			if err != nil {
				return err
			}
			if err := devctl.Order(cmd.Context(), state, order, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], map[string]string{
				devctl.Kill: "killed", devctl.Start: "started",
			}[order])
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "directory of the cluster, if several run")
	return cmd
}
