package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// A sender that knows no commit point must not pass for one that knows them all: its repeat would be done a second time where
// the first attempt is in a part of the log that is no longer remembered.
func TestAnUnknownCommitPointStaysUnknown(t *testing.T) {
	for _, known := range []uint64{0, 7} {
		r := &request{mutation: &mutation{}}
		p := r.proposal(&kringv1.Request{RequestId: make([]byte, len(entry.RequestID{})), Attempt: 2, KnownCommitted: known}, 0)
		require.Equal(t, known, p.KnownCommitted)
	}
}
