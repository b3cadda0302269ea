package redis

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/bench/peers/internal/target"
	"github.com/kringdb/kring/proto/kverr"
)

// pool is the connections to each server for what cannot share one: at least as many as there are callers.
const pool = 512

type store struct {
	target.ReadWrite
	client  rueidis.Client
	servers []string
	safe    bool // writes wait for a replica
}

func newStore(servers []string, safe bool) (*store, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: servers, ShuffleInit: true, DisableCache: true, BlockingPoolSize: pool, ConnWriteTimeout: target.Timeout,
	})
	if err != nil {
		return nil, fmt.Errorf("open the client: %w", err)
	}
	return &store{client: client, servers: servers, safe: safe}, nil
}

// Describe implements bench.Target.
func (t *store) Describe() bench.Description {
	name := compare.RedisDefaults
	if t.safe {
		name = compare.Redis
	}
	return bench.Description{Name: name, Endpoints: t.servers}
}

// Get implements bench.Target; the key's primary answers.
func (t *store) Get(ctx context.Context, key, _ []byte) (bench.Read, error) {
	value, err := t.client.Do(ctx, t.client.B().Get().Key(string(key)).Build()).AsBytes()
	switch {
	case rueidis.IsRedisNil(err):
		return bench.Read{}, kverr.New(kverr.NotFound, "")
	case err != nil:
		return bench.Read{}, target.ReadError(err)
	}
	return bench.Read{Value: value}, nil
}

// Put implements bench.Target.
func (t *store) Put(ctx context.Context, key, value []byte) (uint64, error) {
	if !t.safe {
		return 0, target.WriteError(t.client.Do(ctx, t.client.B().Set().Key(string(key)).Value(rueidis.BinaryString(value)).Build()).Error())
	}
	// WAIT is about what its own connection wrote, and holds that connection up: no other caller may share it.
	return 0, t.client.Dedicated(func(c rueidis.DedicatedClient) error {
		replies := c.DoMulti(ctx,
			c.B().Set().Key(string(key)).Value(rueidis.BinaryString(value)).Build(),
			c.B().Wait().Numreplicas(1).Timeout(target.Timeout.Milliseconds()).Build())
		for _, r := range replies {
			if err := r.Error(); err != nil {
				return target.WriteError(err)
			}
		}
		if n, err := replies[1].AsInt64(); err != nil || n < 1 {
			return kverr.Newf(kverr.OutcomeUnknown, "%d replicas have it: %v", n, err)
		}
		return nil
	})
}

// Close implements bench.Target.
func (t *store) Close() error {
	t.client.Close()
	return nil
}
