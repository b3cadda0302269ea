package top

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/kringdb/kring/cmd/internal/rest"
)

// gateways are tried in turn: one is asked until it fails, and then the next, over and over.
type gateways struct {
	clients []*rest.Client

	mu       sync.Mutex
	states   []Gateway
	asked    int
	switched chan struct{} // closed when another is asked
}

func newGateways(addresses []string) (*gateways, error) {
	g := &gateways{switched: make(chan struct{})}
	for _, a := range addresses {
		c, err := rest.New([]string{a})
		if err != nil {
			return nil, err
		}
		g.clients, g.states = append(g.clients, c), append(g.states, Gateway{Address: strings.TrimPrefix(strings.TrimSpace(a), "http://")})
	}
	if len(g.clients) == 0 {
		_, err := rest.New(nil)
		return nil, err
	}
	return g, nil
}

func (g *gateways) close() {
	for _, c := range g.clients {
		c.Close()
	}
}

// current is the one to ask; switched is closed when that is another.
func (g *gateways) current() (index int, c *rest.Client, switched <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked, g.clients[g.asked], g.switched
}

// note keeps what came of asking one. If it is the one that is asked, and it failed, the next is asked from now on.
func (g *gateways) note(index int, failure string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &g.states[index]
	if failure != "" && s.Error == "" {
		s.Since = now
	}
	s.Error = failure
	if failure != "" && index == g.asked && len(g.clients) > 1 {
		g.asked = (g.asked + 1) % len(g.clients)
		close(g.switched)
		g.switched = make(chan struct{})
	}
}

// look tries the ones that are away and are not asked anyway, so that it shows when they are back.
func (g *gateways) look(ctx context.Context, timeout time.Duration) {
	states, asked := g.list()
	for i := range states {
		if i == asked || states[i].Error == "" {
			continue
		}
		one, cancel := context.WithTimeout(ctx, timeout)
		_, err := g.clients[i].Cluster(one)
		cancel()
		if ctx.Err() == nil {
			g.note(i, failureText(err, timeout), time.Now())
		}
	}
}

func (g *gateways) list() (states []Gateway, asked int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Gateway(nil), g.states...), g.asked
}
