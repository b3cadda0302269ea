package node

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

// A node that no coordinator takes says so, goes on asking, and ends when it is told to.
func TestRegistrationTellsWhatItWaitsFor(t *testing.T) {
	reader, writer := io.Pipe()
	logger := slog.New(slog.NewTextHandler(writer, nil))
	coordinators, err := client.NewCoordinators(client.CoordinatorsConfig{Seeds: client.StaticSeeds(), Logger: logger})
	require.NoError(t, err)
	n := &Node{coordinators: coordinators, log: logger}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := n.askToRegister(ctx, 10*time.Millisecond, &kringv1.RegisterRequest{})
		ended <- err
		_ = writer.Close()
	}()
	for told := range 3 {
		line := make([]byte, 1024)
		length, err := reader.Read(line)
		require.NoError(t, err)
		text := string(line[:length])
		require.True(t, strings.Contains(text, "takes this node's registration") && strings.Contains(text, "no coordinator is known"),
			"%d: %s", told, text)
	}
	cancel()
	_, err = io.Copy(io.Discard, reader)
	require.NoError(t, err)
	require.Equal(t, kverr.Canceled, kverr.CodeOf(<-ended))
	require.NoError(t, coordinators.Close())
}
