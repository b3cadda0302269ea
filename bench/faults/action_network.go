package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
			for _, l := range s.links {
				if passes, err := s.config.Network.Passes(l.from, l.to); err != nil || !passes {
					failures = append(failures, fmt.Errorf("%v is still cut: %w", l, errors.Join(err, errImpossible)))
				}
			}
			return errors.Join(failures...)
		},
	}
}

// linksCut proves with packets that the links are cut, and that the other direction of a link cut one way is not.
func linksCut(_ context.Context, s *strike) (bool, string, error) {
	for _, l := range s.links {
		passes, err := s.config.Network.Passes(l.from, l.to)
		if err != nil || passes {
			return false, fmt.Sprintf("packets pass %v", l), err
		}
		back := link{l.to, l.from}
		if slices.Contains(s.links, back) {
			continue
		}
		if passes, err := s.config.Network.Passes(back.from, back.to); err != nil || !passes {
			return false, fmt.Sprintf("packets do not pass %v", back), err
		}
	}
	return true, fmt.Sprintf("no packet passes %v", s.links), nil
}
