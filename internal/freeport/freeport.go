// Package freeport finds loopback ports for processes that run together on one machine.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are looked for below the range from which systems take ports for outgoing connections, so that a member that is
// down for a while finds its own port free when it comes back.
const (
	firstPort = 20000
	lastPort  = 31999
	attempts  = 1000 // bounds the search for one port
)

var (
	handedMu sync.Mutex
	handed   = make(map[int]bool) // by Find of this process
)

// Find finds n loopback ports that are free for TCP and UDP now and were not given out by this process before.
// Another process may take one before it is used.
func Find(n int) ([]int, error) {
	handedMu.Lock()
	defer handedMu.Unlock()
	ports := make([]int, 0, n)
	for range n * attempts {
		if len(ports) == n {
			break
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if !handed[port] && free(port) {
			handed[port] = true
			ports = append(ports, port)
		}
	}
	if len(ports) < n {
		return nil, errors.New("too few free ports on loopback")
	}
	return ports, nil
}

func free(port int) bool {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	return u.Close() == nil
}
