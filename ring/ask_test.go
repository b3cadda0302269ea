package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAskByThePrimary(t *testing.T) {
	current := abc()
	same, err := Ask(current, current.Epoch, current, 2, replicaA)
	require.NoError(t, err, "the same members again raise the epoch: what was asked before can no longer be decided")
	require.Equal(t, current.Epoch.Next(), same.Epoch)
	require.Equal(t, current.InSync, same.InSync)
	require.Equal(t, current.Joining, same.Joining)
	_, err = Ask(current, current.Epoch-1, current, 2, replicaA)
	require.ErrorIs(t, err, ErrStaleEpoch)

	handed := current.Clone()
	handed.Primary, handed.Released = replicaB, true
	next, err := Ask(current, current.Epoch, handed, 2, replicaA)
	require.NoError(t, err)
	require.True(t, next.Released)
}

func TestAskByOthers(t *testing.T) {
	current := abc()
	stepped := current.Clone()
	stepped.InSync, stepped.Joining = set(replicaA, replicaC), set(replicaB, replicaD)
	next, err := Ask(current, current.Epoch, stepped, 2, replicaB)
	require.NoError(t, err, "a backup that stops leaves the in-sync set")
	require.Equal(t, stepped.InSync, next.InSync)
	require.Equal(t, stepped.Joining, next.Joining)

	for name, test := range map[string]struct {
		by      Replica
		min     int
		desired func(p *Partition)
		want    error
	}{
		"a backup about another":       {replicaC, 2, func(p *Partition) { *p = stepped.Clone() }, ErrNotToAsk},
		"a joiner about a backup":      {replicaD, 2, func(p *Partition) { *p = stepped.Clone() }, ErrNotToAsk},
		"another disk of the backup":   {otherB, 2, func(p *Partition) { *p = stepped.Clone() }, ErrNotToAsk},
		"a joiner about its addition":  {replicaD, 2, func(p *Partition) { p.InSync, p.Joining = append(p.InSync, replicaD), nil }, ErrNotToAsk},
		"a backup about its promotion": {replicaB, 2, func(p *Partition) { p.Primary = replicaB }, ErrNotToAsk},
		"a backup and a joiner":        {replicaB, 2, func(p *Partition) { p.InSync, p.Joining = set(replicaA, replicaC), set(replicaB) }, ErrNotToAsk},
		"a backup that is needed":      {replicaB, 3, func(p *Partition) { *p = stepped.Clone() }, ErrBelowMinInSync},
		"nothing":                      {replicaB, 2, func(*Partition) {}, ErrNoChange},
	} {
		t.Run(name, func(t *testing.T) {
			desired := current.Clone()
			test.desired(&desired)
			_, err := Ask(current, current.Epoch, desired, test.min, test.by)
			require.ErrorIs(t, err, test.want)
		})
	}

	released := stepped.Clone()
	released.Released = true
	next, err = Ask(current, current.Epoch, released, 2, replicaB)
	require.NoError(t, err)
	require.False(t, next.Released, "only the primary knows whether it still serves")
}
