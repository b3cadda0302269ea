package ring

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var (
	replicaA = Replica{"a", 1}
	replicaB = Replica{"b", 2}
	replicaC = Replica{"c", 3}
	replicaD = Replica{"d", 4}
	otherB   = Replica{"b", 20} // b with an empty disk
)

func set(replicas ...Replica) []Replica { return replicas }

func holdsNode(set []Replica, id NodeID) bool {
	return slices.ContainsFunc(set, func(r Replica) bool { return r.Node == id })
}

// abc is in sync on a, b, c, led by a, with d joining.
func abc() Partition {
	return Partition{ID: 5, Epoch: NewEpoch(1, 7), Primary: replicaA, InSync: set(replicaA, replicaB, replicaC),
		Joining: set(replicaD)}
}

func TestChangeRules(t *testing.T) {
	ab := func(p *Partition) { p.InSync = set(replicaA, replicaB) }
	for name, test := range map[string]struct {
		current func(p *Partition) // changes abc
		desired func(p *Partition) // changes current
		want    error              // nil: allowed
	}{
		"a joiner enters": {
			desired: func(p *Partition) { p.InSync, p.Joining = append(p.InSync, replicaD), nil },
		},
		"a stranger enters": {
			desired: func(p *Partition) { p.InSync = append(p.InSync, Replica{"e", 5}) }, want: ErrNotJoined,
		},
		"a joiner's node enters with another disk": {
			desired: func(p *Partition) { p.InSync, p.Joining = append(p.InSync, Replica{"d", 40}), nil }, want: ErrNotJoined,
		},
		"a stranger joins": {
			desired: func(p *Partition) { p.Joining = append(p.Joining, Replica{"e", 5}) },
		},
		"a joiner gives up": {
			desired: func(p *Partition) { p.Joining = nil },
		},
		"a backup falls back to joining": {
			desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaC), set(replicaB, replicaD) },
		},
		"a node returns with an empty disk": {
			desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaC), set(otherB, replicaD) },
		},
		"a backup is promoted": {
			desired: func(p *Partition) { p.Primary = replicaB },
		},
		"a backup is promoted, the old primary leaves": {
			desired: func(p *Partition) { p.Primary, p.InSync = replicaB, set(replicaB, replicaC) },
		},
		"a joiner is promoted": {
			desired: func(p *Partition) { p.Primary, p.InSync, p.Joining = replicaD, append(p.InSync, replicaD), nil },
			want:    ErrNotPromotable,
		},
		"a stranger is promoted": {
			desired: func(p *Partition) { p.Primary, p.InSync = Replica{"0", 5}, append(p.InSync, Replica{"0", 5}) },
			want:    ErrNotPromotable,
		},
		"the same node is promoted with another disk": {
			desired: func(p *Partition) { p.Primary, p.InSync = otherB, set(replicaA, otherB, replicaC) },
			want:    ErrNotPromotable,
		},
		"the primary leaves and stays primary": {
			desired: func(p *Partition) { p.InSync = set(replicaB, replicaC) }, want: ErrPrimaryNotInSync,
		},
		"the primary only joins": {
			desired: func(p *Partition) { p.InSync, p.Joining = set(replicaB, replicaC), set(replicaA) },
			want:    ErrPrimaryNotInSync,
		},
		"no primary": {
			desired: func(p *Partition) { p.Primary = Replica{} }, want: ErrPrimaryNotInSync,
		},
		"a joiner enters while another takes over": {
			desired: func(p *Partition) { p.Primary, p.InSync, p.Joining = replicaB, append(p.InSync, replicaD), nil },
			want:    ErrAddedByOther,
		},
		"down to min_insync":  {desired: ab},
		"below min_insync":    {desired: func(p *Partition) { p.InSync = set(replicaA) }, want: ErrBelowMinInSync},
		"at min_insync, less": {current: ab, desired: func(p *Partition) { p.InSync = set(replicaA) }, want: ErrBelowMinInSync},
		"at min_insync, a joiner takes a dead one's place": {
			current: ab, desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaD), nil },
		},
		"below min_insync already, grows": {
			current: func(p *Partition) { p.InSync = set(replicaA) },
			desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaD), nil },
		},
		"below min_insync already, stays": {
			current: func(p *Partition) { p.InSync = set(replicaA) },
			desired: func(p *Partition) { p.Joining = nil },
		},
		"nobody in sync": {
			desired: func(p *Partition) { p.InSync = nil }, want: ErrPrimaryNotInSync,
		},
		"nothing": {desired: func(*Partition) {}, want: ErrNoChange},
		"nothing but the order": {
			desired: func(p *Partition) { slices.Reverse(p.InSync) }, want: ErrNoChange,
		},
		"in any order": {
			desired: func(p *Partition) { slices.Reverse(p.InSync); p.Joining = nil },
		},
		"another partition": {desired: func(p *Partition) { p.ID = 6 }, want: ErrWrongPartition},
		"in sync twice": {
			desired: func(p *Partition) { p.InSync = append(p.InSync, replicaB) }, want: ErrDuplicateNode,
		},
		"in sync and joining": {
			desired: func(p *Partition) { p.InSync = append(p.InSync, replicaD) }, want: ErrDuplicateNode,
		},
		"a node joins with its new disk while its lost one is in sync": {
			current: ab, desired: func(p *Partition) { p.Joining = append(p.Joining, otherB) },
		},
		"the new disk takes the lost one's place at min_insync": {
			current: func(p *Partition) { ab(p); p.Joining = set(otherB) },
			desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, otherB), nil },
		},
		"both disks of a node in sync": {
			current: func(p *Partition) { ab(p); p.Joining = set(otherB) },
			desired: func(p *Partition) { p.InSync, p.Joining = append(p.InSync, otherB), nil }, want: ErrDuplicateNode,
		},
		"the lost disk of a node leaves before the new one is in, at min_insync": {
			current: func(p *Partition) { ab(p); p.Joining = set(otherB) },
			desired: func(p *Partition) { p.InSync = set(replicaA) }, want: ErrBelowMinInSync,
		},
		"both disks of a node joining": {
			current: func(p *Partition) { p.Joining = set(otherB) },
			desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaC), set(replicaB, otherB) },
			want:    ErrDuplicateNode,
		},
		"a joiner takes a dead one's place at min_insync, which falls back": {
			current: ab, desired: func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaD), set(replicaB) },
		},
		"joining twice": {
			desired: func(p *Partition) { p.Joining = append(p.Joining, Replica{"d", 9}) }, want: ErrDuplicateNode,
		},
		"a joiner without a disk": {
			desired: func(p *Partition) { p.Joining = append(p.Joining, Replica{Node: "e"}) }, want: ErrUnnamedReplica,
		},
		"a joiner without a name": {
			desired: func(p *Partition) { p.Joining = append(p.Joining, Replica{Store: 5}) }, want: ErrUnnamedReplica,
		},
		"too many": {
			desired: func(p *Partition) {
				for i := range MaxCopies {
					p.Joining = append(p.Joining, Replica{NodeID(rune('e' + i)), 1})
				}
			},
			want: ErrTooManyCopies,
		},
		"the last epoch": {
			current: func(p *Partition) { p.Epoch = NewEpoch(1, 1<<epochNumberBits-1) },
			desired: func(p *Partition) { p.Joining = nil }, want: ErrEpochsSpent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			current := abc()
			if test.current != nil {
				test.current(&current)
			}
			before, desired := current.Clone(), current.Clone()
			test.desired(&desired)
			desired.Epoch = 0 // of no account
			asked := desired.Clone()
			got, err := Change(current, current.Epoch, desired, 2)
			require.Equal(t, asked, desired, "the desired configuration was written to")
			require.True(t, current.Equal(&before), "the current configuration was written to")
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
				return
			}
			require.NoError(t, err)
			desired.Epoch = NewEpoch(1, 8)
			sortReplicas(desired.InSync)
			sortReplicas(desired.Joining)
			require.True(t, desired.Equal(&got), "decided %+v", got)

			_, err = Change(got, before.Epoch, desired, 2)
			require.ErrorIs(t, err, ErrStaleEpoch, "the second of two changes from one state")
		})
	}
}

func TestChangeRefusesAnyOtherEpoch(t *testing.T) {
	current, desired := abc(), abc()
	desired.Joining = nil
	for _, expected := range []Epoch{0, 7, NewEpoch(1, 6), NewEpoch(1, 8), NewEpoch(2, 7)} {
		_, err := Change(current, expected, desired, 2)
		require.ErrorIs(t, err, ErrStaleEpoch)
	}
}

func TestReopen(t *testing.T) {
	got, err := Reopen(abc())
	require.NoError(t, err)
	want := abc()
	want.Epoch = NewEpoch(1, 8)
	require.Equal(t, want, got)

	released := abc()
	released.Released = true
	got, err = Reopen(released)
	require.NoError(t, err)
	require.Equal(t, want, got, "nobody has released the new epoch")

	spent := abc()
	spent.Epoch = NewEpoch(0, 1<<epochNumberBits-1)
	_, err = Reopen(spent)
	require.ErrorIs(t, err, ErrEpochsSpent, "the number must not run into the count of restores")
}

func TestReleasedIsOfOneEpoch(t *testing.T) {
	current := abc()
	handed := current.Clone()
	handed.Primary, handed.Released = replicaB, true
	got, err := Change(current, current.Epoch, handed, 2)
	require.NoError(t, err)
	require.True(t, got.Released)

	desired := got.Clone()
	desired.Joining = nil
	next, err := Change(got, got.Epoch, desired, 2)
	require.NoError(t, err)
	require.False(t, next.Released, "kept by a change that copied it")

	desired = got.Clone()
	desired.Primary, desired.Released = replicaC, false
	next, err = Change(got, got.Epoch, desired, 2)
	require.NoError(t, err)
	require.False(t, next.Released, "a failover releases nothing")
}

// Whatever is asked for in whatever order, a decided configuration has a valid shape, a higher epoch, no fewer in sync than
// allowed, and in sync only who was or was joining; and its primary was in sync before.
func TestChangeHoldsForAnyRequest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Custom(func(t *rapid.T) Replica {
			return Replica{NodeID(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "node")),
				StoreID(rapid.IntRange(1, 2).Draw(t, "store"))}
		})
		current := Partition{ID: 1, Epoch: 1, Primary: Replica{"a", 1}, InSync: set(Replica{"a", 1}, Replica{"b", 1}, Replica{"c", 1})}
		decidedCount := 0
		for range 40 {
			desired := current.Clone()
			mutate := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 3).Draw(t, "edits")
			for _, edit := range mutate {
				r := draw.Draw(t, "replica")
				switch edit {
				case 0:
					desired.Primary = r
				case 1:
					desired.InSync = append(desired.InSync, r)
				case 2:
					desired.InSync = without(desired.InSync, set(r))
				case 3:
					desired.Joining = append(desired.Joining, r)
				case 4:
					desired.Joining = without(desired.Joining, set(r))
				case 5:
					desired.Released = true
				}
			}
			next, err := Change(current, current.Epoch, desired, 2)
			if err != nil {
				continue
			}
			decidedCount++
			require.NoError(t, next.validate(1))
			require.Equal(t, current.Epoch+1, next.Epoch)
			require.GreaterOrEqual(t, len(next.InSync), 2)
			require.True(t, current.IsInSync(next.Primary))
			nodes := map[NodeID]int{}
			for _, r := range next.InSync {
				require.True(t, current.IsInSync(r) || current.IsJoining(r))
				nodes[r.Node]++
				require.Equal(t, 1, nodes[r.Node], "two disks of one node count as two copies")
				require.False(t, next.IsJoining(r))
			}
			require.False(t, next.Released && next.Primary == current.Primary)
			current = next
		}
	})
}
