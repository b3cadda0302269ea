package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/internal/freeport"
	"github.com/kringdb/kring/ring/client"
)

// Bounds for clusters that are started to be measured.
const (
	measuredTimeout = 10 * time.Second // of one request, for all systems
	measuredReady   = 2 * time.Minute  // of a start; longer than for kring dev, since nobody waits for it
)

// startMeasured starts a cluster of processes, with one coordinator and one gateway, and returns once it is whole.
func startMeasured(ctx context.Context, dir string, nodes, copies int) (c *cluster.Cluster, err error) {
	t, err := topology.New(topology.Request{Dir: dir, Coordinators: 1, Nodes: nodes, Gateways: 1, Replicas: uint32(copies)})
	if err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c = cluster.New(t, procs.Runner{Binary: binary, LogDir: filepath.Join(dir, "logs"), Env: procs.Limits(len(t.Members))})
	if err := c.StartAll(); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, measuredReady)
	defer cancel()
	if err := c.WaitHealthy(waiting); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// openMeasuredClient opens the Go client.
func openMeasuredClient(ctx context.Context, t *topology.Topology) (bench.Target, error) {
	opening, cancel := context.WithTimeout(ctx, measuredTimeout)
	defer cancel()
	seeds := client.StaticSeeds(t.First(topology.Coordinator).Listen)
	return bench.OpenClient(opening, client.Config{Seeds: seeds, Timeout: measuredTimeout})
}

func openMeasuredREST(t *topology.Topology) (bench.Target, error) {
	return bench.NewREST(bench.RESTConfig{Addresses: []string{t.First(topology.Gateway).Endpoint()}, Timeout: measuredTimeout})
}

// startBareHandler starts kring bench handler in a process of its own; url is that of its keys.
func startBareHandler(ctx context.Context, dir string, valueSize int) (p *procs.Process, url string, err error) {
	ports, err := freeport.Find(1)
	if err != nil {
		return nil, "", err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	p, err = procs.Start(procs.Command{
		Name: "handler", Binary: binary, Args: []string{"bench", "handler", "--http", address, "--value-size", strconv.Itoa(valueSize)},
		Log: filepath.Join(dir, "handler.log"),
	})
	if err != nil {
		return nil, "", err
	}
	url = "http://" + address + "/v1/kv/"
	waiting, cancel := context.WithTimeout(ctx, measuredReady)
	defer cancel()
	if err := p.WaitReady(waiting, url+"x"); err != nil {
		return nil, "", errors.Join(err, p.Stop(measuredTimeout))
	}
	return p, url, nil
}

// measuredCopies is how many copies of each key the suite's clusters have.
const measuredCopies = 3

// suiteClusters starts the suite's clusters, each in a directory of its own below dir, which is removed when the cluster has stopped.
func suiteClusters(dir string) suite.Start {
	return func(ctx context.Context, s suite.Spec) (c *suite.Cluster, err error) {
		below, err := os.MkdirTemp(dir, strconv.Itoa(s.Nodes)+"-nodes-")
		if err != nil {
			return nil, err
		}
		var closers []func() error
		closeAll := func() error {
			var failures []error
			for i := len(closers) - 1; i >= 0; i-- {
				failures = append(failures, closers[i]())
			}
			return errors.Join(failures...)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, closeAll())
			}
		}()
		processes, err := startMeasured(ctx, below, s.Nodes, measuredCopies)
		if err != nil {
			return nil, err
		}
		closers = append(closers, processes.Close)
		c = &suite.Cluster{Processes: runningMembers(processes), Roles: map[string]string{}}
		for _, m := range processes.Topology().Members {
			c.Roles[m.ID] = string(m.Role)
		}
		if c.Client, err = openMeasuredClient(ctx, processes.Topology()); err != nil {
			return nil, err
		}
		closers = append(closers, c.Client.Close)
		if c.REST, err = openMeasuredREST(processes.Topology()); err != nil {
			return nil, err
		}
		closers = append(closers, c.REST.Close)
		if s.BareValue > 0 {
			handler, url, err := startBareHandler(ctx, below, s.BareValue)
			if err != nil {
				return nil, err
			}
			closers = append(closers, func() error { return handler.Stop(measuredTimeout) })
			if c.Bare, err = bench.NewURL(url+"{key}", 64); err != nil {
				return nil, err
			}
			closers = append(closers, c.Bare.Close)
		}
		c.Close = func() error {
			if err := closeAll(); err != nil {
				return err // what is left in the directory may tell why
			}
			return os.RemoveAll(below)
		}
		return c, nil
	}
}
