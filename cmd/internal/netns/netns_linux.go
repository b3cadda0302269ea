package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// prefix begins the name of every namespace; the pid of its maker and the member's number follow.
	prefix = "kring-"
	// linkPrefix begins the name of every link; names of links have at most 15 bytes.
	linkPrefix = "kr"
	// mount is where iproute2 keeps namespaces.
	mount = "/run/netns/"
	// nobody is a hardware address that no member has: locally administered, and fixed where the kernel's are random.
	nobody = "02:00:00:00:00:99"
	// inside is the name of a member's link in its namespace.
	inside = "eth0"
)

// Network is namespaces joined by a bridge. The process itself is at the bridge, in its own namespace.
type Network struct {
	bridge string
	hosts  map[string]*host

	receivers sync.WaitGroup

	mu      sync.Mutex
	sent    uint64                   // probes
	waiting map[uint64]chan struct{} // for those probes to arrive
}

// host is one member's place in the network.
type host struct {
	namespace string
	address   netip.Addr
	outside   string       // its link's end at the bridge
	probes    *net.UDPConn // in its namespace
}

// Possible says why there can be no namespaces here, nil if there can.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("network namespaces need iproute2 and util-linux: %w", err)
		}
	}
	return nil
}

// New makes a network for the members. Close it.
func New(members []string) (_ *Network, err error) {
	if err := Possible(); err != nil {
		return nil, err
	}
	if err := removeLeftovers(); err != nil {
		return nil, err
	}
	subnet, err := freeSubnet()
	if err != nil {
		return nil, err
	}
	n := &Network{bridge: linkPrefix + strconv.Itoa(os.Getpid()) + "b", hosts: make(map[string]*host), waiting: make(map[uint64]chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	address := subnet.Addr().Next()
	if err := ip("link", "add", n.bridge, "type", "bridge"); err != nil {
		return nil, err
	}
	if err := ip("address", "add", netip.PrefixFrom(address, subnet.Bits()).String(), "dev", n.bridge); err != nil {
		return nil, err
	}
	if err := ip("link", "set", n.bridge, "up"); err != nil {
		return nil, err
	}
	for i, id := range members {
		address = address.Next()
		if err := n.add(id, i, netip.PrefixFrom(address, subnet.Bits())); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// add makes one member's namespace and its link to the bridge.
func (n *Network) add(id string, number int, address netip.Prefix) error {
	h := &host{namespace: prefix + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(number), address: address.Addr()}
	h.outside = fmt.Sprintf("%s%d.%d", linkPrefix, os.Getpid(), number)
	if err := ip("netns", "add", h.namespace); err != nil {
		return err
	}
	n.hosts[id] = h
	for _, command := range [][]string{
		{"link", "add", h.outside, "type", "veth", "peer", "name", inside, "netns", h.namespace},
		{"link", "set", h.outside, "master", n.bridge, "up"},
		{"-n", h.namespace, "address", "add", address.String(), "dev", inside},
		{"-n", h.namespace, "link", "set", inside, "up"},
		{"-n", h.namespace, "link", "set", "lo", "up"},
	} {
		if err := ip(command...); err != nil {
			return err
		}
	}
	err := within(h.namespace, func() (err error) {
		h.probes, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.address, 0)))
		return err
	})
	if err != nil {
		return err
	}
	n.receivers.Go(func() { n.receive(h.probes) })
	return nil
}

// Address is a member's IP address.
func (n *Network) Address(id string) string { return n.hosts[id].address.String() }

// Command is what to put before a command so that it runs in the member's namespace, in the same process.
func (n *Network) Command(id string) []string {
	return []string{"nsenter", "--net=" + filepath.Join(mount, n.hosts[id].namespace), "--"}
}

// Received is how many bytes were sent to a member so far, headers included.
func (n *Network) Received(id string) (uint64, error) {
	text, err := os.ReadFile("/sys/class/net/" + n.hosts[id].outside + "/statistics/tx_bytes")
	if err != nil {
		return 0, fmt.Errorf("bytes sent to %s: %w", id, err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// Cut loses what from sends to to.
func (n *Network) Cut(from, to string) error {
	return ip("-n", n.hosts[from].namespace, "neigh", "replace", n.hosts[to].address.String(), "lladdr", nobody, "nud", "permanent", "dev", inside)
}

// Mend ends a Cut. A link that is not cut is no error.
func (n *Network) Mend(from, to string) error {
	err := ip("-n", n.hosts[from].namespace, "neigh", "del", n.hosts[to].address.String(), "dev", inside)
	if err != nil && strings.Contains(err.Error(), "No such file") {
		return nil
	}
	return err
}

const (
	probeTries = 5
	probeWait  = 100 * time.Millisecond
)

// Passes sends packets and reports whether one arrives.
func (n *Network) Passes(from, to string) (bool, error) {
	arrived := make(chan struct{})
	n.mu.Lock()
	n.sent++
	number := n.sent
	n.waiting[number] = arrived
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.waiting, number)
	}()
	packet := binary.BigEndian.AppendUint64(nil, number)
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for range probeTries {
		// An error is the network's word that the target cannot be reached, and so an answer.
		if _, err := n.hosts[from].probes.WriteTo(packet, n.hosts[to].probes.LocalAddr()); errors.Is(err, net.ErrClosed) {
			return false, fmt.Errorf("probe of %s→%s: %w", from, to, err)
		}
		timer.Reset(probeWait)
		select {
		case <-arrived:
			return true, nil
		case <-timer.C:
		}
	}
	return false, nil
}

// receive takes a member's probes until its socket is closed.
func (n *Network) receive(probes *net.UDPConn) {
	for {
		var got [8]byte
		length, err := probes.Read(got[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || length != len(got) {
			continue // an ICMP message about another packet
		}
		n.mu.Lock()
		number := binary.BigEndian.Uint64(got[:])
		if arrived := n.waiting[number]; arrived != nil {
			close(arrived)
			delete(n.waiting, number)
		}
		n.mu.Unlock()
	}
}

// Close removes everything. The members must have ended.
func (n *Network) Close() error {
	var failures []error
	for _, h := range n.hosts {
		if h.probes != nil {
			failures = append(failures, h.probes.Close())
		}
		// Its links go with it.
		failures = append(failures, ip("netns", "del", h.namespace))
	}
	n.receivers.Wait()
	if _, err := net.InterfaceByName(n.bridge); err == nil {
		failures = append(failures, ip("link", "del", n.bridge))
	}
	return errors.Join(failures...)
}

func ip(arguments ...string) error {
	output, err := exec.Command("ip", arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return nil
}

// within calls f on a thread that is in the namespace: sockets that f opens are there, whoever uses them afterwards.
func within(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, instead of running others in a namespace that is not theirs.
		runtime.LockOSThread()
		done <- func() error {
			handle, err := os.Open(filepath.Join(mount, namespace))
			if err != nil {
				return err
			}
			err = unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
			if err := errors.Join(err, handle.Close()); err != nil {
				return fmt.Errorf("enter the namespace %s: %w", namespace, err)
			}
			return f()
		}()
	}()
	return <-done
}

// removeLeftovers removes what processes made that have ended without removing it.
func removeLeftovers() error {
	entries, err := os.ReadDir(mount)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failures []error
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), prefix)
		maker, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(maker); !ours || err != nil || !gone(pid) {
			continue
		}
		failures = append(failures, ip("netns", "del", e.Name()))
	}
	links, err := net.Interfaces()
	failures = append(failures, err)
	for _, l := range links {
		rest, ours := strings.CutPrefix(l.Name, linkPrefix)
		maker, bridge := strings.CutSuffix(rest, "b")
		if pid, err := strconv.Atoi(maker); !ours || !bridge || err != nil || !gone(pid) {
			continue
		}
		failures = append(failures, ip("link", "del", l.Name))
	}
	return errors.Join(failures...)
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// freeSubnet is a /24 that no interface of this machine is in.
func freeSubnet() (netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	var taken []netip.Prefix
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p)
		}
	}
	for third := range 256 {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte((third + os.Getpid()) % 256), 0}), 24)
		overlaps := false
		for _, p := range taken {
			overlaps = overlaps || p.Overlaps(candidate)
		}
		if !overlaps {
			return candidate, nil
		}
	}
	return netip.Prefix{}, errors.New("no free subnet in 10.213.0.0/16")
}
