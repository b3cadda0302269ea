package main

import (
	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/ring/client"
)

// mutationFlags are those of every command that changes a key.
type mutationFlags struct {
	ifVersion      uint64
	idempotencyKey string
}

func (f *mutationFlags) register(cmd *cobra.Command, ifVersion string) {
	cmd.Flags().Uint64Var(&f.ifVersion, "if-version", 0, ifVersion)
	cmd.Flags().StringVar(&f.idempotencyKey, "idempotency-key", "", "carry the change out once for all runs with this key, such as a UUID")
}

func (f *mutationFlags) mutation(cmd *cobra.Command) (rest.Mutation, error) {
	m := rest.Mutation{IdempotencyKey: f.idempotencyKey}
	if cmd.Flags().Changed("if-version") {
		m.IfVersion = &f.ifVersion
	}
	switch {
	case cmd.Flags().Changed("idempotency-key") && f.idempotencyKey == "":
		return m, exit.Usagef("--idempotency-key is empty: give something that no other change has, such as a UUID")
	case len(f.idempotencyKey) > client.MaxIdempotencyKeyBytes:
		return m, exit.Usagef("--idempotency-key has %d bytes: at most %d", len(f.idempotencyKey), client.MaxIdempotencyKeyBytes)
	}
	return m, nil
}

// mutationObject is a change for programs.
func mutationObject(key []byte, a *rest.Answer) map[string]any {
	object := map[string]any{"node": a.Node, "epoch": a.Epoch}
	if a.Version != "" {
		object["version"] = a.Version
	}
	if a.Replayed {
		object["replayed"] = true
	}
	output.Bytes(object, "key", key)
	return object
}

// before marks an answer that is an earlier one's.
func before(a *rest.Answer) string {
	if a.Replayed {
		return " (by an earlier run with this idempotency key)"
	}
	return ""
}
