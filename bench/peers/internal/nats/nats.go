// Package nats runs and measures a bucket of NATS JetStream's key-value store with three replicas.
package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/bench/peers/internal/process"
	"github.com/kringdb/kring/bench/peers/internal/target"
	"github.com/kringdb/kring/proto/kverr"
)

const (
	servers = 3
	bucket  = "bench"
)

const configuration = `server_name: %q
host: %q
port: %s
jetstream {
  store_dir: %q
  sync_interval: %q
  max_file_store: 32GB
}
cluster {
  name: bench
  listen: %q
  routes: [%s]
}
`

// How often servers sync: before each answer, or as they do by default.
const (
	syncAlways  = "always"
	syncDefault = "2m"
)

// Open starts three servers and makes the bucket; every message is synced (compare.NATS), or none before its acknowledgement
// (compare.NATSDefaults).
func Open(ctx context.Context, s compare.Setup) (running *compare.Running, err error) {
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
	clients, cluster := addresses[:servers], addresses[servers:]
	for i := range servers {
		if err := start(g, s, i, clients[i], cluster); err != nil {
			return nil, err
		}
	}
	var connection *nats.Conn
	err = g.Until(ctx, "no server of NATS answers", func(context.Context) error {
		c, err := nats.Connect("nats://" + strings.Join(clients, ",nats://"))
		connection = c
		return err
	})
	if err != nil {
		return nil, err
	}
	store := &store{connection: connection, servers: clients, name: s.System}
	if err = store.create(ctx, g); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	running = &compare.Running{
		Target: store, Processes: g.Processes(), Close: g.Close,
		Info: compare.Info{
			Title: "NATS JetStream KV", Version: connection.ConnectedServerVersion(), Servers: "3 servers, a bucket with 3 replicas in files, history 1",
			Client: "nats.go's jetstream, one connection for all callers; a put waits for its acknowledgement",
			Guarantee: compare.Guarantee{
				Copies: servers, Acknowledged: 2, Synced: 2, Sync: "sync_interval: always, a majority before the answer", Reads: compare.AnyCopy,
			},
		},
	}
	if s.System == compare.NATSDefaults {
		g := &running.Info.Guarantee
		g.Synced, g.Sync = 0, "sync_interval: 2m, a majority has it in memory before the answer"
	}
	return running, nil
}

func start(g *process.Group, s compare.Setup, i int, listen string, cluster []string) error {
	name := fmt.Sprintf("s%d", i+1)
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	var routes []string
	for j, r := range cluster {
		if j != i {
			routes = append(routes, fmt.Sprintf("%q", "nats://"+r))
		}
	}
	interval := syncAlways
	if s.System == compare.NATSDefaults {
		interval = syncDefault
	}
	text := fmt.Sprintf(configuration, name, host, port, filepath.Join(s.Dir, name), interval, cluster[i], strings.Join(routes, ", "))
	file := filepath.Join(s.Dir, name+".conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return g.Start(name, filepath.Join(s.Binaries, "nats-server"), nil, "--config", file)
}

type store struct {
	target.ReadWrite
	connection *nats.Conn
	servers    []string
	name       string
	kv         jetstream.KeyValue
}

// create makes the bucket, once the servers have agreed on who decides, and waits until all its replicas are there.
func (t *store) create(ctx context.Context, g *process.Group) error {
	js, err := jetstream.New(t.connection)
	if err != nil {
		return err
	}
	err = g.Until(ctx, "no bucket can be made", func(ctx context.Context) error {
		t.kv, err = js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: bucket, Replicas: servers, Storage: jetstream.FileStorage, History: 1,
		})
		return err
	})
	if err != nil {
		return err
	}
	return g.Until(ctx, "the bucket has not all its replicas", func(ctx context.Context) error {
		stream, err := js.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != servers-1 {
			return errors.New("there is no leader, or a replica is missing")
		}
		for _, r := range info.Cluster.Replicas {
			if !r.Current {
				return fmt.Errorf("replica %s is behind", r.Name)
			}
		}
		return nil
	})
}

// Describe implements bench.Target.
func (t *store) Describe() bench.Description {
	return bench.Description{Name: t.name, Endpoints: t.servers}
}

// Get implements bench.Target; whichever replica the servers choose answers.
func (t *store) Get(ctx context.Context, key, _ []byte) (bench.Read, error) {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	e, err := t.kv.Get(ctx, string(key))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return bench.Read{}, kverr.New(kverr.NotFound, "")
	case err != nil:
		return bench.Read{}, target.ReadError(err)
	}
	return bench.Read{Value: e.Value(), Version: e.Revision()}, nil
}

// Put implements bench.Target.
func (t *store) Put(ctx context.Context, key, value []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	revision, err := t.kv.Put(ctx, string(key), value)
	return revision, target.WriteError(err)
}

// Close implements bench.Target.
func (t *store) Close() error {
	t.connection.Close()
	return nil
}
