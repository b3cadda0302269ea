package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// link is one direction between two members.
type link struct{ from, to string }

func (l link) String() string { return l.from + "→" + l.to }

func bothWays(a string, others []string) []link {
	var links []link
	for _, b := range others {
		if b != a {
			links = append(links, link{a, b}, link{b, a})
		}
	}
	return links
}

// networkActions are faults of links.
var networkActions = map[Kind]action{
	CutBoth: cut(func(_ context.Context, s *strike) ([]link, error) {
		return bothWays(s.plan.Nodes[0], s.plan.Nodes[1:2]), nil
	}),
	CutOneWay: cut(func(_ context.Context, s *strike) ([]link, error) {
		return []link{{s.plan.Nodes[0], s.plan.Nodes[1]}}, nil
	}),
	CutOff: cut(func(ctx context.Context, s *strike) ([]link, error) {
		id, err := s.primary(ctx)
		return bothWays(id, slices.Concat(s.everybody(), s.config.Cluster.Gateways())), err
	}),
	CutCoordinators: cut(func(_ context.Context, s *strike) ([]link, error) {
		return bothWays(s.plan.Nodes[0], s.config.Cluster.Coordinators()), nil
	}),
}

// cut makes an action of a choice of links.
func cut(choose func(ctx context.Context, s *strike) ([]link, error)) action {
	return action{
		begin: func(ctx context.Context, s *strike) ([]string, error) {
			links, err := choose(ctx, s)
			if err != nil {
				return nil, err
			}
			for _, l := range links {
				s.links = append(s.links, l)
				s.targets = append(s.targets, l.String())
				if err := s.config.Network.Cut(l.from, l.to); err != nil {
					return s.targets, err
				}
			}
			return s.targets, nil
		},
		proof: linksCut,
		end: func(_ context.Context, s *strike) error {
			var failures []error
			for _, l := range s.links {
				failures = append(failures, s.config.Network.Mend(l.from, l.to))
			}
			passing, err := s.passing(s.links)
			for i, l := range s.links {
				if !passing[i] {
					failures = append(failures, fmt.Errorf("%v is still cut", l))
				}
			}
			return errors.Join(append(failures, err)...)
		},
	}
}

// passing sends packets over all links at once and says for each whether one arrived.
func (s *strike) passing(links []link) ([]bool, error) {
	passing, failures := make([]bool, len(links)), make([]error, len(links))
	var probing sync.WaitGroup
	for i, l := range links {
		probing.Go(func() { passing[i], failures[i] = s.config.Network.Passes(l.from, l.to) })
	}
	probing.Wait()
	return passing, errors.Join(failures...)
}

// linksCut proves with packets that the links are cut, and that the other direction of a link cut one way is not.
func linksCut(_ context.Context, s *strike) (bool, string, error) {
	links := slices.Clone(s.links)
	for _, l := range s.links {
		if back := (link{l.to, l.from}); !slices.Contains(s.links, back) {
			links = append(links, back)
		}
	}
	passing, err := s.passing(links)
	if err != nil {
		return false, "", err
	}
	for i, l := range links {
		if cut := i < len(s.links); passing[i] == cut {
			return false, fmt.Sprintf("%v is to be cut: %t, packets pass: %t", l, cut, passing[i]), nil
		}
	}
	return true, fmt.Sprintf("no packet passes %v", s.links), nil
}
