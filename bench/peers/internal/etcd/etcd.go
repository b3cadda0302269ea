// Package etcd runs and measures three members of etcd.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/bench/peers/internal/process"
	"github.com/kringdb/kring/bench/peers/internal/target"
	"github.com/kringdb/kring/proto/kverr"
)

const (
	members    = 3
	quotaBytes = "8589934592" // 8 GiB: the largest that etcd advises, so that a long run does not meet it
)

// Open starts three members.
func Open(ctx context.Context, s compare.Setup) (running *compare.Running, err error) {
	addresses, err := process.Addresses(2 * members)
	if err != nil {
		return nil, err
	}
	g := &process.Group{Dir: s.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	var initial, endpoints []string
	for i := range members {
		initial = append(initial, fmt.Sprintf("e%d=http://%s", i+1, addresses[members+i]))
		endpoints = append(endpoints, "http://"+addresses[i])
	}
	for i := range members {
		name, peer := fmt.Sprintf("e%d", i+1), "http://"+addresses[members+i]
		err := g.Start(name, filepath.Join(s.Binaries, "etcd"), nil,
			"--name", name, "--data-dir", filepath.Join(s.Dir, name), "--log-level", "warn", "--quota-backend-bytes", quotaBytes,
			"--listen-client-urls", endpoints[i], "--advertise-client-urls", endpoints[i],
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-token", filepath.Base(s.Dir))
		if err != nil {
			return nil, err
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	version := ""
	err = g.Until(ctx, "etcd has no leader", func(ctx context.Context) error {
		for _, e := range endpoints {
			status, err := client.Status(ctx, e)
			if err != nil {
				return err
			}
			if status.Leader == 0 {
				return errors.New("a member knows no leader")
			}
			version = status.Version
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &compare.Running{
		Target: &store{client: client, endpoints: endpoints}, Processes: g.Processes(), Close: g.Close,
		Info: compare.Info{
			Title: "etcd", Version: version, Servers: "3 members",
			Client: "clientv3, one for all callers, with all members as endpoints",
			Guarantee: compare.Guarantee{
				Copies: members, Acknowledged: 2, Synced: 2, Sync: "a majority's logs before the answer", Reads: compare.Linearizable,
			},
		},
	}, nil
}

type store struct {
	target.ReadWrite
	client    *clientv3.Client
	endpoints []string
}

// Describe implements bench.Target.
func (t *store) Describe() bench.Description {
	return bench.Description{Name: compare.Etcd, Endpoints: t.endpoints}
}

// Get implements bench.Target; it is linearizable, as etcd's are unless told otherwise.
func (t *store) Get(ctx context.Context, key, _ []byte) (bench.Read, error) {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	r, err := t.client.Get(ctx, string(key))
	if err != nil {
		return bench.Read{}, target.ReadError(err)
	}
	if len(r.Kvs) == 0 {
		return bench.Read{}, kverr.New(kverr.NotFound, "")
	}
	return bench.Read{Value: r.Kvs[0].Value, Version: uint64(r.Kvs[0].ModRevision)}, nil
}

// Put implements bench.Target.
func (t *store) Put(ctx context.Context, key, value []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	r, err := t.client.Put(ctx, string(key), string(value))
	if err != nil {
		return 0, target.WriteError(err)
	}
	return uint64(r.Header.Revision), nil
}

// Close implements bench.Target.
func (t *store) Close() error { return t.client.Close() }
