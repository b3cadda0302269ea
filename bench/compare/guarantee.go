package compare

import (
	"errors"
	"fmt"
)

// Reads is what a read sees.
type Reads string

// The kinds of reads, from the strongest on.
const (
	Linearizable Reads = "linearizable"
	// FromPrimary is whatever the node has that takes itself for the primary: after a failover that may be old, and it may be a
	// write that is lost afterwards.
	FromPrimary Reads = "of the primary"
	AnyCopy     Reads = "of any copy, which may be old"
	// NoStore is an answer that depends on nothing that was written.
	NoStore Reads = "of a constant"
)

// Guarantee is what a system promises as it is set up here, while nothing has failed.
type Guarantee struct {
	Copies int `json:"copies"` // of each key; 0 for what is no store
	// Acknowledged and Synced are how many copies have a write, and have it on disk, when it is acknowledged.
	Acknowledged int    `json:"copies_at_acknowledgement"`
	Synced       int    `json:"synced_copies_at_acknowledgement"`
	Sync         string `json:"sync"` // the policy, in words
	Reads        Reads  `json:"reads"`
}

// stated reports whether all of it is said.
func (g Guarantee) stated() bool { return g.Sync != "" && g.Reads != "" }

// Access is what a comparison does with keys.
type Access uint8

// The kinds of access.
const (
	Reading Access = 1 << iota
	Writing
)

// Side is one side of a comparison.
type Side struct {
	Name      string
	Guarantee Guarantee
}

// errUnstated: nothing can be said of what the figures are worth beside each other.
var errUnstated = errors.New("a side does not state its guarantee: no ratio is given")

// Differences says in what the guarantees of a and b differ for what is done; none: they are equal. An error: a side does not
// state its own, and no ratio may be given.
func Differences(a, b Side, does Access) ([]string, error) {
	if !a.Guarantee.stated() || !b.Guarantee.stated() {
		return nil, errUnstated
	}
	ga, gb := a.Guarantee, b.Guarantee
	if ga.Reads == NoStore || gb.Reads == NoStore {
		if ga.Reads == gb.Reads {
			return nil, nil
		}
		which := a
		if gb.Reads == NoStore {
			which = b
		}
		return []string{which.Name + " stores nothing"}, nil
	}
	var all []string
	number := func(what string, x, y int) {
		if x != y {
			all = append(all, fmt.Sprintf("%s: %s %d, %s %d", what, a.Name, x, b.Name, y))
		}
	}
	number("copies", ga.Copies, gb.Copies)
	if does&Writing != 0 {
		number("copies that have an acknowledged write", ga.Acknowledged, gb.Acknowledged)
		number("of those synced", ga.Synced, gb.Synced)
	}
	if does&Reading != 0 && ga.Reads != gb.Reads {
		all = append(all, fmt.Sprintf("reads: %s %s, %s %s", a.Name, ga.Reads, b.Name, gb.Reads))
	}
	return all, nil
}
