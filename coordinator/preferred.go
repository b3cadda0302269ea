package coordinator

import (
	"slices"
	"sync"

	"github.com/kringdb/kring/ring"
)

// preferredCache keeps the hash ring's choice for one set of members: computing it takes milliseconds.
type preferredCache struct {
	mu     sync.Mutex
	ids    []ring.NodeID
	owners []ring.NodeID
}

// all is the choice for every partition of t, which must have formed. It must not be modified.
func (c *preferredCache) all(t *ring.Table) ([]ring.NodeID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []ring.NodeID
	for i := range t.Members {
		if t.Members[i].State != ring.MemberDraining {
			ids = append(ids, t.Members[i].Node)
		}
	}
	if !slices.Equal(ids, c.ids) || len(c.owners) != len(t.Partitions) {
		owners, err := t.PreferredOwners()
		if err != nil {
			return nil, err
		}
		c.ids, c.owners = ids, owners
	}
	return c.owners, nil
}
