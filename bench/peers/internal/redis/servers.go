// Package redis runs and measures a Redis Cluster of three primaries with a replica each.
package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/redis/rueidis"

	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/bench/peers/internal/process"
)

const (
	primaries = 3
	servers   = 2 * primaries
	slots     = 16384
)

// The programs, which must be in PATH.
const (
	Server      = "redis-server"
	Interpreter = "redis-cli"
)

// Open starts the cluster: with `appendfsync always` and a WAIT 1 after each write (compare.Redis), or with `appendfsync everysec`
// and none (compare.RedisDefaults).
func Open(ctx context.Context, s compare.Setup) (running *compare.Running, err error) {
	safe := s.System == compare.Redis
	addresses, err := process.Addresses(2 * servers)
	if err != nil {
		return nil, err
	}
	g := &process.Group{Dir: s.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	clients := addresses[:servers]
	for i := range clients {
		if err := start(g, s.Dir, i, clients[i], addresses[servers+i], safe); err != nil {
			return nil, err
		}
	}
	version, err := form(ctx, g, clients)
	if err != nil {
		return nil, err
	}
	store, err := newStore(clients, safe)
	if err != nil {
		return nil, err
	}
	running = &compare.Running{Target: store, Processes: g.Processes(), Close: g.Close, Info: compare.Info{
		Title: "Redis Cluster", Version: version, Servers: "3 primaries with 1 replica each, append-only files, no snapshots",
		Client: "rueidis, one for all callers, which pipelines them over two connections to each server",
		Guarantee: compare.Guarantee{
			Copies: 2, Acknowledged: 1, Synced: 0, Sync: "appendfsync everysec, no WAIT", Reads: compare.FromPrimary,
		},
	}}
	if safe {
		running.Info.Client += "; writes take a connection each, for SET and WAIT 1 in one round trip"
		// A replica acknowledges in the pass of its event loop in which it has synced: Redis 7.0 does so, and does not promise it.
		running.Info.Guarantee = compare.Guarantee{
			Copies: 2, Acknowledged: 2, Synced: 2, Sync: "appendfsync always, and WAIT 1", Reads: compare.FromPrimary,
		}
	}
	return running, nil
}

func start(g *process.Group, dir string, i int, address, bus string, safe bool) error {
	name := fmt.Sprintf("r%d", i+1)
	data := filepath.Join(dir, name)
	if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, busPort, err := net.SplitHostPort(bus)
	if err != nil {
		return err
	}
	sync := "everysec"
	if safe {
		sync = "always"
	}
	binary, err := exec.LookPath(Server)
	if err != nil {
		return err
	}
	return g.Start(name, binary, nil, "--bind", host, "--port", port, "--dir", data, "--daemonize", "no", "--loglevel", "warning",
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", busPort,
		"--appendonly", "yes", "--appendfsync", sync, "--save", "", "--repl-diskless-sync-delay", "0")
}

// form makes the servers a cluster, and returns their version once every slot is served and every replica follows.
func form(ctx context.Context, g *process.Group, clients []string) (version string, err error) {
	direct := make([]rueidis.Client, 0, len(clients))
	defer func() {
		for _, c := range direct {
			c.Close()
		}
	}()
	for _, address := range clients {
		err := g.Until(ctx, address+" does not answer", func(context.Context) error {
			c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, ForceSingleClient: true, DisableCache: true})
			if err == nil {
				direct = append(direct, c)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	arguments := append([]string{"--cluster", "create"}, clients...)
	arguments = append(arguments, "--cluster-replicas", "1", "--cluster-yes")
	if output, err := exec.CommandContext(ctx, Interpreter, arguments...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s --cluster create: %w: %s", Interpreter, err, output)
	}
	for i, c := range direct {
		err := g.Until(ctx, "the cluster of Redis is not whole", func(ctx context.Context) error {
			version, err = whole(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", clients[i], err)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return version, nil
}

// whole says what a server misses.
func whole(ctx context.Context, c rueidis.Client) (version string, err error) {
	state, err := c.Do(ctx, c.B().ClusterInfo().Build()).ToString()
	if err != nil {
		return "", err
	}
	info, err := c.Do(ctx, c.B().Info().Build()).ToString()
	if err != nil {
		return "", err
	}
	cluster, server := fields(state), fields(info)
	switch {
	case cluster["cluster_state"] != "ok", cluster["cluster_slots_ok"] != fmt.Sprint(slots), cluster["cluster_known_nodes"] != fmt.Sprint(servers):
		return "", fmt.Errorf("it does not know the whole cluster: state %q, %s slots, %s servers",
			cluster["cluster_state"], cluster["cluster_slots_ok"], cluster["cluster_known_nodes"])
	case server["role"] == "master" && server["connected_slaves"] != "1":
		return "", errors.New("a primary without its replica")
	case server["role"] == "slave" && server["master_link_status"] != "up":
		return "", errors.New("a replica that does not follow")
	}
	return server["redis_version"], nil
}

// fields reads the lines "name:value". RESP3 has the text begin with its own kind, "txt:".
func fields(text string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(strings.TrimPrefix(text, "txt:")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all
}
